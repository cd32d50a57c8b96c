"""``robot-wm bench cooling``: what an agent of the cooling task is compared with, over the same weather and load."""

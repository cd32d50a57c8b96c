"""``robot-wm bench rescue``: a walking agent on a robot that is not as it was, and what it takes to walk again."""

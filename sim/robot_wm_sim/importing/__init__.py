"""`robot-wm robot import`: from somebody's description to a package with their robot and a first task for it."""

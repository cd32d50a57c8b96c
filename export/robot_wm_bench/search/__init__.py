"""`robot-wm bench search`: how long a plan takes, planner by planner, beside the field's own search."""

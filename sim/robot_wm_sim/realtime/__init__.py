"""A task's robot in real time: physics, firmware, sensors and their faults, without ROS."""

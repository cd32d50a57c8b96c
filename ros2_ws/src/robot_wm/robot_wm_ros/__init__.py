"""ROS 2 nodes around robot_wm: the agent, a simulated robot, and what measures them."""

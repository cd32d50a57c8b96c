"""What runs on the robot: engines, controller, safety, latency. No torch, no gymnasium, no pybullet."""

"""A task's robot in real time: physics, firmware and sensors' faults, without ROS."""

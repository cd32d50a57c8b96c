"""Does what comes from the robot agree with the spec, the training data and itself? Asked before a policy drives it."""

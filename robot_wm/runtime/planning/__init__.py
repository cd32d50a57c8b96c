"""Planning on the robot: a second graph thinks on from where the tick is, and is never waited for too long."""

"""The way from a robot's sensors to its agent, and from there to its drives: one way, in training and in real time."""

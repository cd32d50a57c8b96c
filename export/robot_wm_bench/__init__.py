"""What `robot-wm bench` measures: one module a command, and what they share. Nothing of the stack knows of it."""

"""What rescues an agent on a robot that has changed (`target.yaml`): a world model, and what is learned without one."""

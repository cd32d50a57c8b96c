"""Randomisation: worlds that differ from episode to episode, so that what is learned in them holds in the real one."""

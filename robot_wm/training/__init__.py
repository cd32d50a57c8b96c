"""Learning while collecting: collectors, the update loop, checkpoints and logs."""

"""What velocity tasks of legged robots have in common: `Legged` says which robot, `LeggedVelocity` what it shall do."""

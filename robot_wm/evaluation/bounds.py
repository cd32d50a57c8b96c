"""How long an episode that measures an agent may last. Light, as `robot_wm.evaluation.seeds` is."""

# Control steps; more than the episodes of usual tasks have (1000, or 27,000 of an Atari game), so that it ends those
# only that never end by themselves.
LONGEST_EPISODE_STEPS = 30_000

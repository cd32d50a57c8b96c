"""How long an episode that measures an agent may last. Light, as `robot_wm.evaluation.seeds` is."""

# Control steps: ten times what the episodes of usual tasks have, and a matter of seconds for a small agent. It is there
# for those that never end; who has longer ones is told that they were cut off, and by what to let them go on.
LONGEST_EPISODE_STEPS = 10_000

"""Seeds of the episodes that measure an agent. Light: a robot's machine, which has no torch, evaluates bundles, too."""

# Training seeds are small numbers plus the environment's number; these lie far from them.
EVALUATION_SEED = 1_000_003
# Of starts that the evaluations during training did not see either: by those the best checkpoint was chosen.
UNSEEN_SEED = EVALUATION_SEED + 7919

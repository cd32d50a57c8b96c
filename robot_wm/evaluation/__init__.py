"""How well an agent does: checkpoints and bundles, in simulation, faster than time or in it."""

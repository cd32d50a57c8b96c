"""MuZero: a learned model, trained towards what a search makes of it."""

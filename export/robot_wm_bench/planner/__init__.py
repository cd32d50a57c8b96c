"""Does planning pay? The actor alone against planners over its own model, in the world it knows and in wrong ones."""

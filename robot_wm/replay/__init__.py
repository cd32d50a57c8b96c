"""Experience as a versioned asset: a durable episode store and an in-memory sequence sampler."""

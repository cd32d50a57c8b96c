"""What a world model thinks, and whether it is so: imagination against reality, latents, recordings to look at."""

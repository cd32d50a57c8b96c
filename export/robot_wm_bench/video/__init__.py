"""Rate controls of a video side by side, at equal bitrate."""

"""The robots, each a description file and what it does not say."""

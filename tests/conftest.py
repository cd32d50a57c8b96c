"""How properties are tried: with new examples, and without a deadline, unless a command line names another profile."""

from hypothesis import settings

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("search", deadline=None)
settings.load_profile("search")

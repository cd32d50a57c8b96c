"""How an agent does in worlds that it was not made for: a grid over what can be randomised, and a page about it."""

"""How well a bundle's monitor knows falls and other worlds, and what a reaction to it is worth."""

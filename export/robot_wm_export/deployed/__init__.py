"""Parts of a deployed tick that every kind of agent shares: fewer and larger products, laid out for engines."""

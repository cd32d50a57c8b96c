"""A planner beside the tick in a bundle: its graph, its recorded plans, and whether it pays."""

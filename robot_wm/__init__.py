"""World models that are learned in simulation and run on robots."""

"""A data centre's cooling plant in EnergyPlus, as a task: two halls, chilled water, a water-side economiser."""

"""Sweeps: many training runs of one task, whose settings are drawn where earlier runs did well."""

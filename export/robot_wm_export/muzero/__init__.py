"""MuZero as a robot runs it: its tick laid out for engines, and what parity asks of its heads."""

"""How a run grows with its collectors and hosts: measured here, calculated beyond."""

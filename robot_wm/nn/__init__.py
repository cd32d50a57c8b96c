"""Torch building blocks of the learned models: layers, distributions, returns and the optimiser.

Shape letters: B batch, T time, H imagined step, D deter, S stoch groups, C classes, A action, G blocks.
"""

"""LEAPP both ways: NVIDIA's exchange format of Isaac Lab and Isaac ROS Deploy, to a bundle and from one.

A LEAPP package is a folder: a YAML description (tensors with semantic kinds and names of their elements, how nodes are
wired, which outputs are fed back), a model file a node, and the initial values of what is fed back (safetensors).
Documented at https://nvidia-isaac.github.io/leapp; what is written here is read by leapp 0.7.2, config version 1.3.
"""

"""What a robot's joints really are, from what they did: armature, friction, damping, zero errors, strength and delay.

Shape letters, in this folder: T samples of a stretch, N joints that are identified, P parameters.
"""

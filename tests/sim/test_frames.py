"""Rotations by unit quaternions."""

import math

import numpy as np

from robot_wm_sim.frames import from_yaw, multiply, rotate

TILTED = (0.36, 0.48, 0.0, 0.8)


def test_quaternions_compose_as_rotations_do():
    turn = multiply(TILTED, from_yaw(0.7))
    np.testing.assert_allclose(rotate(turn, (1.0, 2.0, 3.0)), rotate(TILTED, rotate(from_yaw(0.7), (1.0, 2.0, 3.0))))
    np.testing.assert_allclose(rotate(from_yaw(math.pi / 2), (1.0, 0.0, 0.0)), (0.0, 1.0, 0.0), atol=1e-12)

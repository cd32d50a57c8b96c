"""Pictures are taken when they are due, and show the robot as it was then."""

import numpy as np

from robot_wm_export.zoo_stills import stills


def test_pictures_begin_and_end_when_they_should(pole_zoo):
    def taken(**times):
        return stills(pole_zoo.bundle("pole"), pole_zoo.public_key, seed=0, every_s=0.1, **times)

    whole, part = taken(until_s=0.3), taken(from_s=0.1, until_s=0.3)  # after 0, 5, 10 ticks of 15
    assert (len(whole), len(part)) == (3, 2)
    assert whole[0].shape == (480, 640, 3)
    assert np.array_equal(part, whole[1:])
    assert not np.array_equal(part[0], part[1])

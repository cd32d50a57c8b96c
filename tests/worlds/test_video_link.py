"""The decoder's buffer and the budget, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_programmes import planted

from robot_wm_worlds.video.encoder import MODES, QUANTISERS
from robot_wm_worlds.video.link import Link, Sending, underflows
from robot_wm_worlds.video.plans import FIRST_PASS, under_way

LINK = Link.of(8000.0, 10)  # 1000 bytes a chunk, 2000 brought, 6000 in the buffer


def test_a_link_in_bytes_follows_from_its_mean_rate():
    assert (LINK.budget, LINK.fair, LINK.brought, LINK.buffer) == (10_000, 1000, 2000, 6000)


@pytest.mark.parametrize(
    ("sizes", "late"),
    [
        ([6000, 2000, 2000], 0),  # each just lies in the buffer
        ([6001], 1),
        ([6000, 2001], 1),
        ([6000, 2001, 2000], 1),  # the late one waited, and what came after it is in time
        ([0, 6001], 1),  # the buffer holds no more than when it began
        ([3000, 5000, 2001], 1),
    ],
)
def test_a_chunk_is_late_that_is_not_whole_in_the_buffer(sizes, late):
    assert underflows(LINK, sizes) == late


@given(seed=st.integers(0, 1000), rate=st.floats(5e3, 5e5), wanted=st.integers(0, len(MODES) - 1))
def test_what_is_admitted_is_late_or_too_dear_only_where_the_coarsest_is(seed, rate, wanted):
    programme = planted(seed)
    link = Link.of(rate, len(programme))
    plan = under_way(programme, link, lambda chunk, sending: wanted)
    sending = Sending(link, programme.size[:, FIRST_PASS])
    for chunk, mode in enumerate(plan):
        size = programme.size[chunk, mode]
        assert mode // len(QUANTISERS) == wanted // len(QUANTISERS)
        assert mode >= wanted
        if (mode + 1) % len(QUANTISERS):
            assert size <= sending.fullness
            assert size <= sending.left
        if mode > wanted:  # no coarser than it had to be
            assert programme.size[chunk, mode - 1] > min(
                sending.fullness, sending.left - 0.25 * programme.size[chunk + 1 :, FIRST_PASS].sum() + 1e-6
            )
        sending.send(int(size))
    assert sending.underflows == underflows(link, programme.size[np.arange(len(plan)), plan].tolist())

"""The decoder's buffer and the budget, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_programmes import planted

from robot_wm_worlds.video.encoder import MODES, QUANTISERS
from robot_wm_worlds.video.forecast import COARSEST_PROBE
from robot_wm_worlds.video.link import Link, Sending, underflows
from robot_wm_worlds.video.plans import under_way

LINK = Link.of(8000.0, 10)  # 1000 bytes a chunk, 1250 brought, 3000 in the buffer


def test_a_link_in_bytes_follows_from_its_mean_rate():
    assert (LINK.budget, LINK.fair, LINK.brought, LINK.buffer) == (10_000, 1000, 1250, 3000)


@pytest.mark.parametrize(
    ("sizes", "late"),
    [
        ([3000, 1250, 1250], 0),  # each just lies in the buffer
        ([3001], 1),
        ([3000, 1251], 1),
        ([3000, 1251, 1250], 1),  # the late one waited, and what came after it is in time
        ([0, 3001], 1),  # the buffer holds no more than when it began
        ([1000, 3001, 1251], 2),
        ([2000, 2250, 1250], 0),
    ],
)
def test_a_chunk_is_late_that_is_not_whole_in_the_buffer(sizes, late):
    assert underflows(LINK, sizes) == late


@given(seed=st.integers(0, 1000), rate=st.floats(5e3, 5e5), wanted=st.integers(0, len(MODES) - 1))
def test_what_is_admitted_is_late_or_too_dear_only_where_the_coarsest_is(seed, rate, wanted):
    programme = planted(seed)
    link = Link.of(rate, len(programme))
    plan = under_way(programme, link, lambda chunk, sending: wanted)
    sending = Sending(link, programme.size[:, COARSEST_PROBE])
    for chunk, mode in enumerate(plan):
        size = programme.size[chunk, mode]
        most = min(sending.fullness, sending.left - programme.size[chunk + 1 :, COARSEST_PROBE].sum())
        if mode == COARSEST_PROBE != wanted:  # nothing that was asked for, down to the coarsest of its spread, fits
            coarsest = wanted - wanted % len(QUANTISERS) + len(QUANTISERS) - 1
            assert (programme.size[chunk, wanted : coarsest + (coarsest != mode)] > most).all()
        else:
            assert wanted <= mode < wanted - wanted % len(QUANTISERS) + len(QUANTISERS)
            assert size <= most or mode == COARSEST_PROBE
            assert (programme.size[chunk, wanted:mode] > most).all()  # no coarser than it had to be
        sending.send(int(size))
    assert sending.underflows == underflows(link, programme.size[np.arange(len(plan)), plan].tolist())
    if programme.size[:, COARSEST_PROBE].sum() <= link.budget:
        assert sending.left >= 0 or sending.underflows  # what is sure to be needed is kept

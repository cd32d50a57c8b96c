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
def test_nothing_is_late_or_too_dear_that_could_be_coarser(seed, rate, wanted):
    """However much is asked for: what coming chunks need at least is kept, of the budget and in the buffer."""
    programme = planted(seed)
    link = Link.of(rate, len(programme))
    plan = under_way(programme, link, lambda chunk, sending: wanted)
    sizes = programme.size[np.arange(len(plan)), plan].tolist()
    coarsest = programme.size[:, COARSEST_PROBE].tolist()
    if not underflows(link, coarsest):
        assert underflows(link, sizes) == 0
        if sum(coarsest) <= link.budget:
            assert sum(sizes) <= link.budget


@given(seed=st.integers(0, 1000), rate=st.floats(5e3, 5e5), wanted=st.integers(0, len(MODES) - 1))
def test_what_is_asked_for_is_made_no_coarser_than_it_has_to_be(seed, rate, wanted):
    """One quantiser finer at one chunk, then the coarsest throughout, is late or too dear."""
    programme = planted(seed)
    link = Link.of(rate, len(programme))
    plan = under_way(programme, link, lambda chunk, sending: wanted)
    coarsest = programme.size[:, COARSEST_PROBE].tolist()
    sizes = programme.size[np.arange(len(plan)), plan].tolist()
    if underflows(link, coarsest) or sum(coarsest) > link.budget:
        return
    for chunk, mode in enumerate(plan.tolist()):
        assert mode == COARSEST_PROBE or mode // len(QUANTISERS) == wanted // len(QUANTISERS)
        if wanted < mode < wanted - wanted % len(QUANTISERS) + len(QUANTISERS):
            finer = [*sizes[:chunk], int(programme.size[chunk, mode - 1]), *coarsest[chunk + 1 :]]
            assert underflows(link, finer) or sum(finer) > link.budget


def test_one_on_its_way_counts_as_a_whole_stream_does():
    sizes = [1000, 3001, 1251, 10]
    sending = Sending(LINK, np.array([1] * 4))
    for size in sizes:
        sending.send(size)
    assert (sending.underflows, sending.left) == (underflows(LINK, sizes), LINK.budget - sum(sizes))
    assert (sending.underflows, sending.chunk) == (2, 4)


@pytest.mark.parametrize(
    ("coarsest", "largest"),
    [
        ([10, 10, 10], 3000),  # the buffer
        ([10, 3000, 10], 1250),  # the link brings 1250 of the 3000 that the next one needs
        ([10, 1000, 3000], 1500),  # and 2500 of the 4000 that the next two need
        ([10] + [1200] * 8, 400),  # and 9600 of the budget's 10000 are needed
        ([10, 4000, 10], 250),
    ],
)
def test_room_is_kept_for_what_coming_chunks_need_at_least(coarsest, largest):
    """Sizes by hand: the finest that may go is just as large as that."""
    sending = Sending(LINK, np.array(coarsest))
    steps = len(QUANTISERS)
    sizes = [largest + 1] * (steps - 1) + [10] + [largest] * steps + [largest + 1] * steps
    assert sending.admit(sizes, 0) == steps - 1
    assert sending.admit(sizes, steps) == steps
    assert sending.admit(sizes, 2 * steps) == steps - 1  # nothing of that spread fits: the coarsest, evenly

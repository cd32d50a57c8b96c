"""Ranks against Python's stable sort."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.search.ranks import ranked

scores = st.lists(
    st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False) | st.sampled_from([0.0, 1.0]),
    min_size=1,
    max_size=20,
)


@given(scores, st.data())
def test_ranks_are_those_of_a_stable_sort(values, data):
    order = sorted(range(len(values)), key=lambda index: -values[index])
    wanted = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=8))
    found = ranked(torch.tensor([values]), torch.tensor(wanted))
    assert found.shape == (1, len(wanted), len(values))
    assert torch.equal(found.sum(-1), torch.ones(1, len(wanted)))
    assert found.argmax(-1).tolist() == [[order[rank] for rank in wanted]]


def test_of_equal_scores_the_first_is_the_better_one():
    found = ranked(torch.tensor([[2.0, 5.0, 5.0, 2.0, 5.0]]), torch.arange(5))
    assert found.argmax(-1).tolist() == [[1, 2, 4, 0, 3]]


def test_rows_are_ranked_apart():
    found = ranked(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([0]))
    assert found.tolist() == [[[0.0, 1.0]], [[1.0, 0.0]]]

"""Pieces of a long episode: what the store takes for one, and what it gives back."""

import json

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.export import export
from robot_wm.replay.rows import digest
from robot_wm.replay.store import EpisodeStore
from robot_wm.step import Steps, each


@pytest.fixture(params=[False, True], ids=["continuous", "discrete"])
def spec(request, make_spec):
    return make_spec(discrete=request.param)


def cut(episode, first, end, **changes):
    """Steps ``first`` to ``end`` of an episode as a piece of it."""
    goes_on = end < episode.length
    source = episode.source.model_copy(update={"first_step": first, "goes_on": goes_on} | changes)
    return Episode(**each(lambda array: array[first:end], episode, Steps), source=source)


def test_pieces_come_back_as_they_were_and_add_up_to_the_episode(tmp_path, spec, make_episode):
    whole = make_episode(spec, steps=10, terminal=True)
    pieces = [cut(whole, 0, 4), cut(whole, 4, 9), cut(whole, 9, 10)]
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append([*pieces, make_episode(spec, number=1)])
    again = EpisodeStore.open(tmp_path / "store", spec)
    *stored, _ = again.episodes()
    for name, column in whole.columns().items():
        np.testing.assert_array_equal(np.concatenate([piece.columns()[name] for piece in stored]), column)
    assert [piece.source for piece in stored] == [piece.source for piece in pieces]
    totals = again.index.totals()
    other = make_episode(spec, number=1)
    assert totals["return_mean"] == pytest.approx((whole.episode_return + other.episode_return) / 2)
    assert (totals["episodes"], totals["of_these_later_pieces"]) == (4, 2)
    assert again.merge(EpisodeStore.open(tmp_path / "store", spec)).already_there == 4


def test_an_export_tells_where_each_piece_belongs(tmp_path, spec, make_episode):
    whole = make_episode(spec, steps=10)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append([cut(whole, 0, 6), cut(whole, 6, 10)])
    export(store, tmp_path / "npz")
    entries = json.loads((tmp_path / "npz" / "episodes.json").read_text())
    places = [[entry["source"].get(name) for name in ("first_step", "goes_on")] for entry in entries]
    assert places == [[None, True], [6, None]]
    flags = [np.load(tmp_path / "npz" / f"episode_{k:08d}.npz")["is_last"].tolist() for k in range(2)]
    assert flags == [[False] * 6, [False] * 3 + [True]]


@pytest.mark.parametrize(
    ("first", "end", "changes", "told"),
    [
        (0, 4, {"goes_on": False}, r"is_last: true at steps \[\], should be at step 3 only"),
        (4, 10, {"goes_on": True}, r"is_last: true at steps \[5\], should be at none of this piece"),
        (4, 8, {"first_step": 0}, r"is_first: true at steps \[\], should be at step 0 only"),
        (0, 4, {"first_step": 4}, r"is_first: true at steps \[0\], should be at none of this piece"),
        (0, 1, {}, "1 steps; an episode has a reset and at least one more"),
    ],
)
def test_flags_that_do_not_fit_a_pieces_place_are_refused(spec, make_episode, first, end, changes, told):
    with pytest.raises(UserError, match=told):
        cut(make_episode(spec, steps=10), first, end, **changes).require_valid(spec)


def test_the_choice_at_a_pieces_end_is_checked_as_any_other(make_spec, make_episode):
    spec = make_spec(discrete=True)
    piece = cut(make_episode(spec, steps=10), 0, 4)
    piece.action[-1] = 0
    with pytest.raises(UserError, match="action: not one-hot at step 3"):
        piece.require_valid(spec)


def test_a_whole_episode_has_the_digest_that_it_had_before_there_were_pieces(make_spec, make_episode):
    episode = make_episode(make_spec(), steps=3)
    told = {"kind", "task", "robot", "seed", "backend", "policy", "created_utc"}
    assert set(json.loads(episode.source.model_dump_json())) == told
    assert digest(episode) != digest(cut(episode, 0, 3, goes_on=True))

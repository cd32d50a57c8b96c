"""Maps of latents, what their parts encode, and the report about them."""

import json

import numpy as np
import pytest
from knowing import Knowing

from robot_wm.errors import UserError
from robot_wm.inspect.believing import believe, spread_over
from robot_wm.inspect.latents import Latents, encoded
from robot_wm.learning.imagination import LatentPart


@pytest.fixture(scope="module")
def believed(drift_store, drift_spec):
    return believe(Knowing(), drift_spec, spread_over(drift_store, 200, each=20))


def test_every_step_of_every_episode_is_filtered(believed, drift_store):
    for one in believed:
        assert one.latent.shape == (one.episode.length, 3)
        np.testing.assert_allclose(one.latent[:, 0], one.episode.obs["at"][:, 0])  # what it knows is where it is
        assert one.value.shape == one.surprise.shape == (one.episode.length,)
    assert len({one.number for one in believed}) == len(believed) >= 8


def test_episodes_are_spread_over_the_store(drift_store):
    numbers = [number for number, _ in spread_over(drift_store, 100, each=20)]
    known = drift_store.index.number.tolist()
    assert numbers[0] == known[0]
    assert numbers[-1] == known[-1]
    assert len(numbers) == 5


def test_no_more_than_asked_for_of_an_episode_is_filtered(drift_store, drift_spec):
    for one in believe(Knowing(), drift_spec, spread_over(drift_store, 100, each=20), most_steps=7):
        assert len(one.latent) == 7


def test_colours_are_those_of_the_recorded_steps(believed, drift_spec):
    latents = Latents.of(believed, drift_spec)
    np.testing.assert_allclose(latents.colours["reward"], np.concatenate([one.episode.reward for one in believed]))
    np.testing.assert_allclose(latents.colours["time, s"], latents.step / drift_spec.control_rate_hz)
    assert not latents.colours["falling"].any()  # every episode ended by its time limit
    assert list(latents.fields) == ["at"]
    assert "command" not in latents.colours  # the task follows none


def test_the_last_second_before_a_terminal_end_counts_as_falling(believed, drift_spec):
    from dataclasses import replace

    one = believed[0]
    fallen = one.episode.is_terminal.copy()
    fallen[-1] = True
    told = Latents.of([replace(one, episode=replace(one.episode, is_terminal=fallen))], drift_spec)
    expected = np.arange(one.episode.length)[::-1] <= drift_spec.control_rate_hz
    np.testing.assert_array_equal(told.colours["falling"], expected)


def test_what_a_part_holds_is_told_of_that_part():
    rng = np.random.default_rng(0)
    latent, episode = rng.normal(size=(600, 6)).astype(np.float32), np.arange(600) // 30
    fields = {"first": latent[:, 0] + 2.0, "last": 5.0 * latent[:, 5].astype(float), "neither": rng.normal(size=600)}
    table = Latents(latent, episode, np.arange(600) % 30, {}, {k: v.astype(float) for k, v in fields.items()})
    found = encoded(table, (LatentPart("a", 4, 2), LatentPart("b", 2, 1)))
    assert found.parts == ("all", "a", "b")
    assert found.groups == ("a 0", "a 1", "b 0", "b 1")
    first, last, neither = found.by_part > 0.95
    assert (first.tolist(), last.tolist(), neither.tolist()) == ([True, True, False], [True, False, True], [False] * 3)
    assert (found.by_group > 0.95).tolist() == [[True, False, False, False], [False, False, False, True], [False] * 4]
    assert found.rows()[0]["field"] == "first"


@pytest.fixture(scope="module")
def clusters():
    """Two far apart, of 60 latents each, and 10 new ones of each."""
    rng = np.random.default_rng(0)
    middles = np.repeat([[0.0] * 8, [20.0] * 8], 70, axis=0)
    rows = (middles + rng.normal(size=(140, 8))).astype(np.float32)
    old = np.r_[0:60, 70:130]
    return rows[old], rows[np.setdiff1d(np.arange(140), old)]


@pytest.mark.parametrize(("kind", "needs"), [("pca", "sklearn"), ("tsne", "openTSNE"), ("umap", "umap")])
def test_new_latents_find_their_place_in_an_old_map(clusters, kind, needs):
    pytest.importorskip(needs)
    from robot_wm.inspect.maps import make_map

    old, new = clusters
    made = make_map(kind, old)
    before = made.points.copy()
    placed = made.place(new)
    assert placed.shape == (20, 2)
    np.testing.assert_array_equal(made.points, before)
    left, right = made.points[:60].mean(0), made.points[60:].mean(0)
    nearer = np.linalg.norm(placed - left, axis=1) < np.linalg.norm(placed - right, axis=1)
    assert nearer.tolist() == [True] * 10 + [False] * 10


def test_a_map_of_a_handful_is_refused():
    from robot_wm.inspect.maps import make_map

    with pytest.raises(UserError, match="at least 20"):
        make_map("pca", np.zeros((5, 3), np.float32))


def test_the_report_has_maps_probes_and_a_projector(tmp_path, capsys):
    pytest.importorskip("sklearn")
    from robot_wm.inspect.latents_command import latents_command
    from robot_wm.training.checkpoint import load_agent
    from robot_wm.training.rehearsal import rehearse
    from robot_wm.zoo.catalog import locate_weights

    loaded = load_agent(locate_weights("zoo:cartpole_balance"))
    replay = rehearse(loaded, tmp_path / "replay", steps=600, seed=1).path
    options = {"replay": str(replay), "new": str(replay), "out": tmp_path / "out", "steps": 400, "json": True}
    latents_command("zoo:cartpole_balance", maps=("pca",), **options)
    result = json.loads(capsys.readouterr().out)
    assert result["numbers"] == 192
    assert [row["field"] for row in result["r2"]] == ["cart_position", "pole_angle", "cart_velocity", "pole_velocity"]
    assert set(result["r2"][0]) == {"field", "all", "deter", "stoch"}
    for name in ("pca.png", "encoding.png", "latents.html", "latents.json"):
        assert (tmp_path / "out" / name).stat().st_size > 1000 or name.endswith("json")
    (table,) = (tmp_path / "out" / "tensorboard").rglob("metadata.tsv")
    header, *rows = table.read_text().splitlines()
    assert header.split("\t")[:3] == ["reward", "value", "surprise"]
    assert len(rows) == result["latents"]

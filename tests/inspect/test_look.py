"""Pieces of recordings and of runs, their shape on a page, and what is written of them."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from knowing import Knowing
from recorder_ticks import SHA, open_recorder, record

from robot_wm.errors import UserError
from robot_wm.inspect.believing import spread_over
from robot_wm.inspect.envelope import Envelope
from robot_wm.inspect.look_command import look_command
from robot_wm.inspect.mcap_pieces import McapPieces
from robot_wm.inspect.overview import Overview
from robot_wm.inspect.robot_pictures import ghosted, instants
from robot_wm.inspect.run_pieces import RunPieces
from robot_wm.replay.recording import read_recording
from robot_wm.runtime.transform import to_command
from robot_wm.tasks import agent_spec, make_env


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """120 ticks of a robot with a camera, in several chunks."""
    with make_env("a1_velocity", observation="both") as env:
        spec = agent_spec(env)
    folder = tmp_path_factory.mktemp("recorded")
    recorder = open_recorder(folder, spec)
    record(recorder, spec, 120)
    recorder.close()
    return next(folder.glob("*.mcap"))


def joined(pieces, path):
    return np.concatenate([piece.numbers[path] for piece in pieces])


def test_a_recording_in_pieces_says_what_the_whole_one_says(recorded):
    whole, source = read_recording(recorded), McapPieces(recorded)
    pieces = list(source)
    assert source.info.bundle_sha256 == SHA
    assert sum(len(piece.time_s) for piece in pieces) == len(whole.ticks) == 120
    np.testing.assert_array_equal(joined(pieces, "value"), whole.ticks["value"])
    np.testing.assert_array_equal(joined(pieces, "took/total_ms"), whole.ticks["total_ns"] * 1e-6)
    fields = {field.name: field for field in whole.spec.observations}
    label = fields["projected_gravity"].labels
    name = f"observation/projected_gravity.{label[2] if label else 2}/recorded"
    column = whole.ticks[whole.log.vectors["projected_gravity"]][:, 2]
    np.testing.assert_array_equal(joined(pieces, name), column)
    joint = whole.spec.action.joints[1]
    np.testing.assert_array_equal(joined(pieces, f"action/{joint}/filtered"), whole.ticks["command"][:, 1])
    asked = to_command(whole.spec.action, np.ascontiguousarray(whole.ticks["raw_action"]))[:, 1]
    np.testing.assert_array_equal(joined(pieces, f"action/{joint}/raw"), asked)


def test_every_picture_goes_with_its_tick(recorded):
    whole, begin = read_recording(recorded), 0
    for piece in McapPieces(recorded):
        ((path, pictures),) = piece.pictures.items()
        (name,) = whole.images
        assert path == f"camera/{name}/recorded"
        for k, picture in pictures.items():
            np.testing.assert_array_equal(picture, whole.images[name][begin + k])
        assert len(pictures) == len(piece.time_s)
        begin += len(piece.time_s)


def test_a_chunk_that_is_damaged_is_left_out_and_told(recorded, tmp_path):
    data = bytearray(recorded.read_bytes())
    at = len(data) // 2
    data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    source = McapPieces(path)
    ticks = sum(len(piece.time_s) for piece in source)
    assert ticks < 120
    assert len(source.damage) >= 1
    assert "damaged at byte" in source.damage[0]


def test_what_is_no_recording_is_refused(tmp_path):
    path = tmp_path / "x.mcap"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not an MCAP file"):
        McapPieces(path)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9000), st.integers(1, 700))
def test_an_envelope_keeps_the_extremes_in_bounded_room(values, step):
    envelope, array = Envelope(), np.array(values)
    time = np.arange(len(array), dtype=float)
    for first in range(0, len(array), step):
        envelope.add(time[first : first + step], array[first : first + step])
    t, low, high = envelope.curve()
    assert len(t) == len(low) == len(high) <= 2049
    assert (low <= high).all()
    assert low.min() == array.min()
    assert high.max() == array.max()
    assert (np.diff(t) > 0).all()
    if len(array) < 2048:
        np.testing.assert_array_equal(low, array)


def test_an_envelope_does_not_depend_on_how_it_was_fed():
    values, time = np.random.default_rng(0).normal(size=10_000), np.arange(10_000.0)
    once, often = Envelope(), Envelope()
    once.add(time, values)
    for first in range(0, 10_000, 37):
        often.add(time[first : first + 37], values[first : first + 37])
    for a, b in zip(once.curve(), often.curve(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_expected_without_looking_is_what_comes_where_the_model_knows(drift_store, drift_spec):
    """Of a model that knows its world and decodes it: open loop, band and reconstruction are the recorded place."""

    class Decoding(Knowing):
        def imagination(self, generator=None):
            return super().imagination(generator)._replace(decode=lambda latent: {"at": latent[:, :1]})

    episodes = spread_over(drift_store, 3, each=1)
    pieces = list(RunPieces(Decoding(), drift_spec, episodes, horizon=4, seed=0))
    assert len(pieces) == len(episodes)
    for piece, (_, episode) in zip(pieces, episodes, strict=True):
        recorded = piece.numbers["observation/at/recorded"]
        np.testing.assert_array_equal(recorded, episode.obs["at"][:, 0])
        for kind in ("reconstructed", "open_loop", "low", "high"):
            told = piece.numbers[f"observation/at/{kind}"]
            np.testing.assert_allclose(told[1:], recorded[1:], atol=1e-5)
        assert np.isnan(piece.numbers["observation/at/open_loop"][0])  # at the reset it has seen nothing yet
        np.testing.assert_allclose(piece.numbers["reward/predicted"][1:], episode.reward[1:], atol=1e-5)
    assert pieces[1].time_s[0] > pieces[0].time_s[-1]


def test_a_model_that_errs_drifts_off_until_it_looks_again(drift_store, drift_spec):
    from knowing import Faults

    class Decoding(Knowing):
        def imagination(self, generator=None):
            return super().imagination(generator)._replace(decode=lambda latent: {"at": latent[:, :1]})

    (piece, *_) = RunPieces(
        Decoding(Faults(gain=0.0)), drift_spec, spread_over(drift_store, 2, each=1), horizon=5, seed=0
    )
    recorded, expected = (piece.numbers[f"observation/at/{kind}"] for kind in ("recorded", "open_loop"))
    for k in range(1, len(recorded)):
        seen = (k - 1) // 5 * 5  # it believes that nothing moves
        assert expected[k] == pytest.approx(recorded[seen], abs=1e-6)


def test_an_overview_counts_and_cuts():
    from robot_wm.inspect.pieces import Piece

    overview = Overview()
    for begin in (0.0, 400.0):
        time = begin + np.arange(300.0)
        events = tuple((float(t) + 5.0, "e") for t in time)
        overview.add(Piece(time + 5.0, {"a/b/recorded": np.ones(300), "a/b/low": np.ones(300)}, {}, events))
    assert (overview.ticks, overview.duration_s) == (600, 699.0)
    assert (len(overview.events), overview.more_events) == (200, 400)
    assert overview.events[0][0] == 0.0
    assert overview.groups() == {"a/b": ["a/b/recorded"]}  # a band is no curve of its own
    assert len(overview.close.time_s) == 200
    assert len(overview.whole_figure("a").axes) == len(overview.close_figure("a").axes) == 1
    assert overview.camera_figure() is None


def test_look_writes_a_recording_and_a_page(recorded, tmp_path, capsys):
    pytest.importorskip("rerun")
    look_command(str(recorded), out=tmp_path / "out", json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["ticks"] == 120
    assert result["bundle"] == SHA
    page = (tmp_path / "out" / "look.html").read_text()
    assert "camera/" in page or "Cameras" in page
    assert page.count("data:image/png") >= 9
    columns = recorded_columns(tmp_path / "out" / "look.rrd")
    assert {"/value", "/surprise", "/events", "/robot_recorded/moves/FL_hip_joint"} <= set(columns)
    assert "/robot_imagined/moves/FL_hip_joint" not in columns  # a recording has no model
    assert result["robot shown"] == "yes"
    assert "<h2>The robot</h2>" in page


def recorded_columns(path):
    """Every component of every entity of a Rerun recording, as it lies there, all its times together."""
    from rerun.chunk import RrdReader

    found = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if ":" in name:  # else a row's number, or a time
                values = batch.column(name).to_pylist()
                found.setdefault(chunk.entity_path, {}).setdefault(name, []).extend(values)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The zoo's swing-up, looked at: what the command told, its folder and its store."""
    pytest.importorskip("rerun")
    from robot_wm.training.checkpoint import load_agent
    from robot_wm.training.rehearsal import rehearse
    from robot_wm.zoo.catalog import locate_weights

    folder = tmp_path_factory.mktemp("seen")
    loaded = load_agent(locate_weights("zoo:cartpole_swingup"))
    store = rehearse(loaded, folder / "replay", steps=520, seed=1)
    look_command("zoo:cartpole_swingup", replay=str(store.path), out=folder / "out", episodes=1, horizon=10, json=True)
    return loaded, folder / "out", store


def test_the_robot_is_there_as_it_was_and_as_it_was_imagined(seen):
    loaded, out, store = seen
    (piece, *_) = RunPieces(loaded.agent, store.spec, spread_over(store, 1, each=1), horizon=10, seed=0)
    columns = recorded_columns(out / "look.rrd")
    for kind, path in (("recorded", "recorded"), ("imagined", "open_loop")):
        told = piece.numbers[f"observation/cart_position/{path}"]
        moved = columns[f"/robot_{kind}/moves/slider"]["Transform3D:translation"]
        count = len(told) - (kind == "imagined")  # at the reset nothing was imagined yet
        np.testing.assert_allclose([row[0][0] for row in moved[:count]], told[-count:], atol=1e-5)
    frames = {row[0] for row in columns["/robot_imagined/moves/hinge"]["Transform3D:child_frame"]}
    assert frames == {"imagined/pole"}
    colours = {
        kind: columns[f"/robot_{kind}/cartpole/visual_geometries/pole/visual_0"]["Boxes3D:colors"][0][0]
        for kind in ("recorded", "imagined")
    }
    assert colours["imagined"] & 0xFF < 0xFF == colours["recorded"] & 0xFF  # a ghost lets light through
    assert "<h2>The robot</h2>" in (out / "look.html").read_text()


def test_the_viewer_is_told_where_to_show_what(seen):
    """Every curve is in a plot: nothing that was recorded has to be looked for."""
    from rerun.chunk import RrdReader

    _, out, _ = seen
    reader = RrdReader(out / "look.rrd")
    (entry,) = reader.blueprints()
    origins = set()
    for chunk in reader.stream(store=entry):
        batch = chunk.to_record_batch()
        if "ViewBlueprint:space_origin" in batch.schema.names:
            origins |= {row[0] for row in batch.column("ViewBlueprint:space_origin").to_pylist()}
    curves = {path.rpartition("/")[0] or path for path in recorded_columns(out / "look.rrd") if "/recorded" in path}
    curves = {path for path in curves if path.startswith(("/observation", "/action", "/reward"))}
    assert {"/value", "/surprise", "/events", "/about", "/"} | curves == origins


def test_looks_away_are_shown_from_their_first_step_to_their_last():
    known, ahead = np.ones(32, bool), np.r_[0, np.arange(31) % 6 + 1]
    known[0] = False
    rows = instants(known, ahead)
    assert [ahead[row].tolist() for row in rows] == [[1, 2, 3, 5, 6]] * 3
    assert [row[0] for row in rows] == [1, 13, 25]
    known[13] = False  # a look away of which a step is missing is not whole
    assert 14 not in {tick for row in instants(known, ahead) for tick in row}
    assert instants(np.zeros(8, bool), ahead[:8]) == []


def test_ticks_of_a_recording_are_spread_over_it():
    rows = instants(np.arange(100) >= 10, None)
    assert [len(row) for row in rows] == [5, 5, 5]
    assert (rows[0][0], rows[-1][-1]) == (10, 99)
    assert instants(np.ones(3, bool), None) == [[0, 1, 2]]


def test_a_ghost_shines_through():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert set(ghosted(white, white).flat) == {255}
    assert 0 < ghosted(black, white)[0, 0, 0] < ghosted(white, black)[0, 0, 0] < 255  # what was is plainer


def test_without_rerun_one_line_says_what_to_install(recorded, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"robot-wm\[look\]"):
        look_command(str(recorded))

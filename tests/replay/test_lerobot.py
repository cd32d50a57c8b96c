"""A LeRobot dataset of a store: its frames are the store's, bit for bit, and LeRobot's own tools take it."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction

import imageio.v3 as imageio
import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from robot_wm.errors import UserError
from robot_wm.replay import lerobot, lerobot_stats
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.export import export
from robot_wm.replay.lerobot_stats import VectorStats, vector_stats
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import ActionSpec, AgentSpec, CommandField, FirmwareProfile, ObservationField

STATE, CAMERA = "observation.state", "observation.images.camera"
SPEC = AgentSpec(
    task="go",
    robot="toy",
    control_rate_hz=30,
    physics_rate_hz=300,
    observations=(
        ObservationField(name="angle", shape=(2,), unit="rad", labels=("hip", "knee")),
        ObservationField(name="camera", shape=(5, 7, 3), dtype="uint8", unit="1"),
        ObservationField(name="wish", shape=(1,), unit="m/s", source="command"),
        ObservationField(name="mixed", shape=(2,), unit="m, 1"),
    ),
    action=ActionSpec(mode="position", joints=("hip", "knee"), unit="rad"),
    commands=(CommandField(name="ahead", unit="m/s", low=-1, high=1),),
    firmware=FirmwareProfile(name="toy"),
)


def episode(seed: int, steps: int, *, spec: AgentSpec = SPEC, terminal: bool = False, **source) -> Episode:
    """Random values about a large offset, so that sloppy sums would show."""
    rng = np.random.default_rng(seed)
    step, goes_on = np.arange(steps), source.get("goes_on", False)
    obs = {
        field.name: rng.integers(0, 256, (steps, *field.shape), dtype=np.uint8)
        if field.is_image
        else rng.normal(1000, 0.1, (steps, *field.shape)).astype(np.float32)
        for field in spec.observations
    }
    action = rng.normal(size=(steps, spec.action_dim)).astype(np.float32)
    if not goes_on:
        action[-1] = 0
    about = {"kind": "sim", "task": spec.task, "robot": spec.robot, "seed": seed} | source
    return Episode(
        obs=obs,
        action=action,
        reward=np.where(step > 0, rng.normal(size=steps), 0).astype(np.float32),
        reward_known=np.ones(steps, np.bool_),
        is_first=(step == 0) & (not source.get("first_step", 0)),
        is_last=(step == steps - 1) & (not goes_on),
        is_terminal=(step == steps - 1) & terminal,
        source=EpisodeSource(**about),
    )


EPISODES = (
    episode(0, 70, terminal=True),
    episode(1, 120),
    episode(2, 60, goes_on=True),
    episode(2, 1, first_step=60, goes_on=True),  # no transition, and so no episode of a LeRobot dataset
    episode(2, 80, first_step=61, task="come"),
)
FRAMES = [one for one in EPISODES if one.length > 1]


def make(folder, episodes=EPISODES, spec=SPEC):
    store = EpisodeStore.create(folder, spec)
    store.append(episodes)
    store.flush()
    return store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lerobot")
    result = export(make(folder / "store"), folder / "out", form="lerobot")
    assert (result.episodes, result.steps) == (5, 331)
    return folder / "out"


def rows_of(folder) -> list[dict]:
    return pads.dataset(folder / "meta" / "episodes").to_table().sort_by("episode_index").to_pylist()


def state(one: Episode) -> np.ndarray:
    return np.concatenate([one.obs[name] for name in ("angle", "wish", "mixed")], axis=1)


def expected(one: Episode) -> dict[str, np.ndarray]:
    return {
        STATE: state(one)[:-1],
        "action": one.action[:-1],
        "next.reward": one.reward[1:],
        "next.reward_known": one.reward_known[1:],
        "next.done": one.is_last[1:],
        "next.truncated": one.is_last[1:] & ~one.is_terminal[1:],
        "frame_index": np.arange(one.length - 1),
        "timestamp": (np.arange(one.length - 1) / 30).astype(np.float32),
    }


def test_frames_are_the_stores_bit_for_bit(dataset):
    info = json.loads((dataset / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 30, 69 + 119 + 59 + 79)
    begin = 0
    for n, (one, row) in enumerate(zip(FRAMES, rows_of(dataset), strict=True)):
        count = one.length - 1
        assert (row["episode_index"], row["length"], row["tasks"]) == (n, count, [one.source.task])
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (begin, begin + count)
        assert EPISODES[row["robot_wm/number"]] is one
        path = info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        table = pq.read_table(dataset / path, filters=[("episode_index", "=", n)])
        assert table["index"].to_pylist() == list(range(begin, begin + count))
        for key, values in expected(one).items():
            about = info["features"][key]
            found = np.array(table[key].to_pylist(), about["dtype"])
            assert found.dtype == values.dtype
            assert list(found.shape[1:] or [1]) == about["shape"]
            np.testing.assert_array_equal(found, values, err_msg=key)
        path = info["video_path"].format(video_key=CAMERA, chunk_index=0, file_index=row[f"videos/{CAMERA}/file_index"])
        first = round(row[f"videos/{CAMERA}/from_timestamp"] * 30)
        assert round(row[f"videos/{CAMERA}/to_timestamp"] * 30) == first + count
        film = imageio.imread(dataset / path, plugin="FFMPEG")
        np.testing.assert_array_equal(film[first : first + count], one.obs["camera"][:-1])
        begin += count


def test_elements_have_names_and_units(dataset):
    described = json.loads((dataset / "meta" / "info.json").read_text())["features"]
    assert described[STATE]["names"] == ["angle.hip", "angle.knee", "wish.ahead", "mixed.0", "mixed.1"]
    assert described[STATE]["units"] == ["rad", "rad", "m/s", "m", "1"]
    assert (described["action"]["names"], described["action"]["units"]) == (["hip", "knee"], ["rad", "rad"])
    assert described[CAMERA]["shape"] == [5, 7, 3]
    tasks = pq.read_table(dataset / "meta" / "tasks.parquet").to_pydict()
    assert list(zip(tasks["task_index"], tasks["__index_level_0__"], strict=True)) == [(0, "go"), (1, "come")]
    text = (dataset / "README.md").read_text()
    assert text.startswith("---\ntask_categories:\n- robotics\n")
    assert "5 episodes, 331 steps at 30.0 Hz" in text


def by_numpy(values: np.ndarray) -> dict[str, np.ndarray]:
    wide = values.astype(np.float64)
    found = {name: getattr(np, name)(wide, axis=0) for name in ("min", "max", "mean", "std")}
    return found | {f"q{q:02d}": np.percentile(wide, q, axis=0) for q in (1, 10, 50, 90, 99)}


def test_statistics_are_numpys(dataset):
    stats = json.loads((dataset / "meta" / "stats.json").read_text())
    info = json.loads((dataset / "meta" / "info.json").read_text())
    assert set(stats) == set(info["features"])
    columns = {key: np.concatenate([expected(one)[key] for one in FRAMES]) for key in expected(FRAMES[0])}
    rows = rows_of(dataset)
    for key, values in columns.items():
        for name, value in by_numpy(values.reshape(len(values), -1)).items():
            np.testing.assert_allclose(stats[key][name], value, rtol=1e-12, atol=1e-9, err_msg=f"{key} {name}")
        assert stats[key]["count"] == [326]
        for row, one in zip(rows, FRAMES, strict=True):
            own = by_numpy(expected(one)[key].reshape(one.length - 1, -1))
            np.testing.assert_allclose(row[f"stats/{key}/std"], own["std"], rtol=1e-12)
            np.testing.assert_allclose(row[f"stats/{key}/q10"], own["q10"], rtol=1e-12)
    pixels = np.concatenate([one.obs["camera"][:-1] for one in FRAMES]).reshape(-1, 3) / 255
    for name, value in by_numpy(pixels).items():
        tolerance = 1 / 255 if name.startswith("q") else 1e-12  # quantiles are values that are there
        np.testing.assert_allclose(np.ravel(stats[CAMERA][name]), value, atol=tolerance, err_msg=name)
        assert np.shape(stats[CAMERA][name]) == (3, 1, 1)
    assert stats[CAMERA]["count"] == [326]


def test_statistics_of_more_rows_than_are_kept(monkeypatch):
    """All but the quantiles stay exact; these are of rows drawn uniformly, not of the first or the last ones."""
    monkeypatch.setattr(lerobot_stats, "_SAMPLE_ROWS", 2000)
    values = np.random.default_rng(0).normal(size=(20_000, 2)) + np.linspace(1e6, 1e6 + 10, 20_000)[:, None]
    joined = VectorStats()
    for part in np.array_split(values, 37):
        joined.add(part, vector_stats(part))
    whole = by_numpy(values)
    for name, value in joined.stats().items():
        if name.startswith("q"):  # of 2000 rows: four standard errors of the least sure one
            np.testing.assert_allclose(value, whole[name], atol=0.9, err_msg=name)
        elif name != "count":
            np.testing.assert_allclose(value, whole[name], rtol=1e-9, err_msg=name)


def doctor(folder):
    from lerobot_doctor.dataset_loader import load_dataset
    from lerobot_doctor.runner import Severity, run_checks

    report = run_checks(load_dataset(str(folder)))
    told = [one.message for found in report.results for one in found.messages if one.severity is not Severity.PASS]
    return report.overall_severity, told


def test_lerobot_doctor_finds_nothing_wrong(dataset, tmp_path):
    severity, told = doctor(dataset)
    # What it does not like: somebody told every reward, so that this flag never changes, and our episodes are short.
    assert told == [
        "next.reward_known: zero variance (constant value 1.0000)",
        "3/4 episodes shorter than chunk_size=100 (used by ACT/Diffusion policies)",
    ]
    assert severity.value == "WARN"
    # It looks: a frame that is lost is a failure.
    broken = shutil.copytree(dataset, tmp_path / "broken")
    file = broken / "data" / "chunk-000" / "file-000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 320), file)
    assert doctor(broken)[0].value == "FAIL"


def test_lerobots_own_loader_gives_the_same_frames(dataset):
    loader = pytest.importorskip("lerobot.datasets.lerobot_dataset", exc_type=(ImportError, RuntimeError))
    found = loader.LeRobotDataset("robot_wm/test", root=dataset, video_backend="pyav")
    assert (found.num_episodes, found.num_frames, found.fps) == (4, 326, 30)
    at = 0
    for one in FRAMES:
        for step, wanted in enumerate(state(one)[:-1]):
            frame = found[at] if step % 20 == 0 else found.hf_dataset[at]
            np.testing.assert_array_equal(frame[STATE].numpy(), wanted)
            np.testing.assert_array_equal(frame["action"].numpy(), one.action[step])
            assert frame["next.reward"].item() == one.reward[step + 1]
            if CAMERA in frame:
                assert frame["task"] == one.source.task
                picture = frame[CAMERA].permute(1, 2, 0).numpy() * 255
                np.testing.assert_array_equal(picture.round().astype(np.uint8), one.obs["camera"][step])
            at += 1


def test_files_have_an_end_and_no_episode_lies_in_two(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, "_DATA_MB", 0.001)
    monkeypatch.setattr(lerobot, "_VIDEO_MB", 1e-6)
    monkeypatch.setattr(lerobot, "_FILES_A_CHUNK", 2)
    monkeypatch.setattr(lerobot, "_GROUP_BYTES", 1)
    export(make(tmp_path / "store"), tmp_path / "out", form="lerobot")
    rows = rows_of(tmp_path / "out")
    places = [(row["data/chunk_index"], row["data/file_index"]) for row in rows]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for n, ((chunk, file), one) in enumerate(zip(places, FRAMES, strict=True)):
        table = pq.read_table(tmp_path / "out" / f"data/chunk-{chunk:03d}/file-{file:03d}.parquet")
        assert set(table["episode_index"].to_pylist()) == {n}
        np.testing.assert_array_equal(np.array(table["action"].to_pylist(), np.float32), one.action[:-1])
    films = sorted((tmp_path / "out" / "videos" / CAMERA).rglob("*.mp4"))
    assert len(films) > 1
    assert {(row[f"videos/{CAMERA}/chunk_index"], row[f"videos/{CAMERA}/file_index"]) for row in rows} == {
        (int(film.parent.name[-3:]), int(film.stem[-3:])) for film in films
    }
    begins = [row[f"videos/{CAMERA}/from_timestamp"] for row in rows]
    assert begins.count(0.0) == len(films)


def test_small_videos_of_a_rate_that_has_many_decimals(tmp_path):
    """A third of a hertz is no two decimals, which is all that imageio would pass on."""
    camera = ObservationField(name="camera", shape=(32, 48, 1), dtype="uint8", unit="1")
    spec = SPEC.model_copy(update={"observations": (camera,), "control_rate_hz": 1 / 3, "physics_rate_hz": 10.0})
    shown = episode(0, 9, spec=spec)
    smooth = np.broadcast_to(np.linspace(0, 255, 48)[:, None], (9, 32, 48, 1)).astype(np.uint8)
    one = Episode(**(vars(shown) | {"obs": {"camera": smooth}}))
    export(make(tmp_path / "store", [one], spec), tmp_path / "out", form="lerobot", video="small")
    film = tmp_path / "out" / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    assert imageio.immeta(film, plugin="FFMPEG")["duration"] == pytest.approx(24, abs=0.1)
    pictures = imageio.imread(film, plugin="FFMPEG")
    assert pictures.shape == (8, 32, 48, 3)
    assert np.abs(pictures.astype(int) - smooth[:-1]).mean() < 4
    info = json.loads((tmp_path / "out" / "meta" / "info.json").read_text())
    assert Fraction(info["fps"]).limit_denominator(1000) == Fraction(1, 3)
    assert info["features"][CAMERA]["info"]["video.pix_fmt"] == "yuv420p"
    assert STATE not in info["features"]
    assert ", compressed with loss." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("shape", "video", "words"),
    [
        ((4, 4, 2), "exact", "field camera: 2 channels; a LeRobot video holds 1 or 3"),
        ((4, 5, 3), "small", "field camera: 5x4 pixels; --video small needs even numbers"),
        (None, "exact", "no episode to export"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, shape, video, words):
    if shape:
        camera = ObservationField(name="camera", shape=shape, dtype="uint8", unit="1")
        spec = SPEC.model_copy(update={"observations": (camera,)})
        store = make(tmp_path / "store", [episode(0, 9, spec=spec)], spec)
    else:
        store = EpisodeStore.create(tmp_path / "store", SPEC)
    with pytest.raises(UserError, match=words):
        export(store, tmp_path / "out", form="lerobot", video=video)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]

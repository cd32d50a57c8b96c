"""`robot-wm replay` as a user types it, and the exports as others read them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from robot_wm.cli import run
from robot_wm.replay.export import export
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec


@pytest.fixture
def stored(tmp_path, make_spec, make_episode):
    spec = make_spec(image=True)
    store = EpisodeStore.create(tmp_path / "replay", spec)
    episodes = [make_episode(spec, number=n, steps=6 + n, terminal=n == 1) for n in range(3)]
    for episode in episodes:
        store.append([episode])
    return store, episodes


def test_log_and_show(stored, replay):
    store, episodes = stored
    store.tag("best", 3)
    code, log, _ = replay("log", store.path, "--json")
    assert code == 0
    assert [(row["version"], row["episodes"], row["tags"]) for row in log["rows"]] == [
        (4, 3, []),
        (3, 2, ["best"]),
        (2, 1, []),
        (1, 0, []),
    ]
    assert replay("log", store.path, "--limit", 1, "--json")[1]["rows"] == log["rows"][:1]
    _, shown, _ = replay("show", store.path, "--version", "best", "--json")
    assert (shown["version"], shown["episodes"], shown["steps"], shown["tags"]) == (3, 2, 13, ["best"])
    assert shown["spec_hash"] == store.spec.content_hash()
    assert shown["episode_numbers"] == [0, 1]
    _, one, _ = replay("show", store.path, "--episode", 1, "--json")
    assert one["source"] == episodes[1].source.model_dump(mode="json")
    assert (one["steps"], one["duration_s"], one["terminated"]) == (7, pytest.approx(6 / 50), True)
    assert one["return"] == episodes[1].episode_return


def test_tables_are_for_people(stored, capsys):
    store, _ = stored
    assert run(["replay", "log", str(store.path)]) == 0
    assert "committed_utc" in capsys.readouterr().out


def test_tag_checkout_and_quota(stored, replay):
    store, _ = stored
    assert replay("tag", store.path, "first", "--version", 2, "--json")[1]["version"] == 2
    assert replay("checkout", store.path, "first", "--json")[1]["episodes"] == 1
    assert replay("checkout", store.path, 4, "--json")[1]["episodes"] == 3
    code, result, err = replay("quota", store.path, "--max-steps", 8, "--json")
    assert (code, result["episodes"], result["steps"]) == (0, 1, 8)
    assert result["protected_by_tags"] == ["first"]
    assert "stay on disk for tags first" in " ".join(err.split())
    assert replay("compact", store.path, "--keep-versions", 1, "--json")[0] == 0
    assert len(replay("log", store.path, "--json")[1]["rows"]) == 2
    assert replay("tag", store.path, "first", "--delete", "--json")[1]["deleted"]
    assert EpisodeStore.open(store.path).tags() == {}


def test_merge(stored, replay, tmp_path, make_episode):
    store, _ = stored
    other = EpisodeStore.create(tmp_path / "other", store.spec)
    other.append([make_episode(store.spec, number=n) for n in (1, 30)])
    _, result, _ = replay("merge", store.path, other.path, "--json")
    assert (result["added"], result["already_there"], result["episodes"]) == (2, 0, 5)
    assert replay("merge", store.path, other.path, "--json")[1]["already_there"] == 2


def test_damage_is_told_and_skipped_on_request(stored, replay, tmp_path):
    store, _ = stored
    (file,) = store.dataset.get_fragments()[1].data_files()
    (store.path / "data" / file.path).write_bytes(b"nothing of use")
    code, found, err = replay("verify", store.path, "--json")
    assert code == 2
    assert [(d["file"], d["episodes"]) for d in found["damaged"]] == [(f"data/{file.path}", [1])]
    assert "1 damaged episodes in version 4" in " ".join(err.split())
    code, nothing, err = replay("export", store.path, tmp_path / "out", "--json")
    assert (code, nothing) == (2, None)
    assert file.path in "".join(err.split())
    code, result, err = replay("export", store.path, tmp_path / "out", "--skip-damaged", "--json")
    assert (code, result["episodes"]) == (0, 2)
    assert result["damaged"][0]["episodes"] == [1]
    assert file.path in "".join(err.split())


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_exports_are_read_without_us(stored, replay, tmp_path, form):
    store, episodes = stored
    folder = tmp_path / "out"
    code, result, _ = replay("export", store.path, folder, "--format", form, "--version", 3, "--json")
    assert (code, result["episodes"], result["steps"]) == (0, 2, 13)
    assert AgentSpec.load(folder / "spec.json") == store.spec
    entries = json.loads((folder / "episodes.json").read_text())
    assert [entry["source"]["seed"] for entry in entries] == [0, 1]
    assert form in (folder / "README.md").read_text()
    for number, episode in enumerate(episodes[:2]):
        if form == "npz":
            columns = dict(np.load(folder / f"episode_{number:08d}.npz", allow_pickle=False))
        else:
            table = pq.read_table(folder / "steps.parquet", filters=[("episode", "=", number)])
            assert table["step"].to_pylist() == list(range(episode.length))
            columns = {name: np.array(table[name].to_pylist()) for name in episode.columns()}
        for name, array in episode.columns().items():
            np.testing.assert_array_equal(columns[name].reshape(array.shape), array, err_msg=name)


def test_export_does_not_overwrite(stored, tmp_path, replay):
    store, _ = stored
    export(store, tmp_path / "out")
    code, _, err = replay("export", store.path, tmp_path / "out")
    assert code == 2
    assert "exists already" in " ".join(err.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", "{missing}"),
        ("show", "{missing}", "--json"),
        ("tag", "{missing}", "best"),
        ("checkout", "{missing}", "1"),
        ("merge", "{store}", "{missing}"),
        ("export", "{missing}", "{missing}"),
        ("compact", "{missing}"),
        ("quota", "{missing}", "--max-steps", "5"),
        ("verify", "{missing}"),
        ("quota", "{store}"),
        ("quota", "{store}", "--max-steps", "0"),
        ("log", "{store}", "--limit", "-1"),
        ("show", "{store}", "--version", "99"),
        ("show", "{store}", "--version", "unknown"),
        ("show", "{store}", "--episode", "3"),
        ("checkout", "{store}", "0"),
        ("tag", "{store}", "7up"),
        ("tag", "{store}", "unknown", "--delete"),
        ("export", "{store}", "{store}"),
        ("log",),
    ],
)
def test_bad_input_ends_in_one_line_and_code_2(stored, replay, tmp_path, arguments):
    store, _ = stored
    words = [word.format(missing=tmp_path / "missing", store=store.path) for word in arguments]
    code, result, err = replay(*words)
    assert (code, result) == (2, None)
    assert err.startswith("robot-wm: ")
    assert "Traceback" not in err
    assert not (tmp_path / "missing").exists()


def test_help_names_units(capsys):
    assert run(["replay", "--help"]) == 0
    listed = capsys.readouterr().out
    for name in (
        "log",
        "show",
        "tag",
        "checkout",
        "merge",
        "import",
        "recordings",
        "export",
        "compact",
        "quota",
        "verify",
    ):
        assert name in listed
    run(["replay", "quota", "--help"])
    assert "Most bytes" in capsys.readouterr().out

"""`robot-wm replay` as a user types it, and the exports as others read them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from robot_wm.cli import run
from robot_wm.replay.export import export
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.controller import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.spec import AgentSpec


@pytest.fixture
def stored(tmp_path, make_spec, make_episode):
    spec = make_spec(image=True)
    store = EpisodeStore.create(tmp_path / "replay", spec)
    episodes = [make_episode(spec, number=n, steps=6 + n, terminal=n == 1) for n in range(3)]
    for episode in episodes:
        store.append([episode])
    return store, episodes


@pytest.fixture
def replay(capsys):
    """Run `robot-wm replay …`: exit code, the JSON on stdout (or None) and stderr."""

    def call(*arguments):
        code = run(["replay", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith("{") else None, err

    return call


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
    for name in ("log", "show", "tag", "checkout", "merge", "import", "export", "compact", "quota", "verify"):
        assert name in listed
    run(["replay", "quota", "--help"])
    assert "Most bytes" in capsys.readouterr().out


@pytest.fixture
def recorder(tmp_path, make_spec):
    """A recorder of six ticks of which the third has a fault: two episodes of 2 and 3 steps."""
    open_recorders = []

    def begin(folder="recorded", **changes):
        spec = make_spec(**changes)
        recorder = TickRecorder(tmp_path / folder, SimpleNamespace(spec=spec), bundle_sha256="5" * 64)
        open_recorders.append(recorder)
        for n in range(6):
            observation = {"mark": np.float32([n, -n]), "angle": np.zeros(3, np.float32)}
            action = np.float32([n, 0.5])
            command = Command(action, action, action, n + 1, Mode.ACTIVE, damp=False, fault_bits=4 * (n == 2))
            stamp_ns = n * 20_000_000
            assert recorder.add(observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns, publish_ns=stamp_ns)
        return recorder

    yield begin
    for recorder in open_recorders:
        recorder.close()


@pytest.fixture
def recorded(recorder):
    """The file of a recorder that has ended."""

    def make(*arguments, **changes):
        ended = recorder(*arguments, **changes)
        ended.close()
        return ended.path

    return make


def test_import_makes_a_store_and_leaves_out_what_is_there(recorded, replay, tmp_path):
    one, other, store = recorded(), recorded("other"), tmp_path / "replay"
    code, result, err = replay("import", one, other, "--into", store, "--json")
    assert (code, err) == (0, "")
    rows = result.pop("rows")
    row = {
        "file": str(one),
        "version": 2,
        "ticks": 6,
        "episodes": 2,
        "steps": 5,
        "added": 2,
        "already_there": 0,
        "not_driven": 1,
        "too_short": 0,
        "missing": 0,
        "split_by_missing": 0,
        "split_by_time": 0,
        "damage": [],
    }
    # The other robot did the same at the same time, so nothing is to be added.
    assert rows == [row, row | {"file": str(other), "added": 0, "already_there": 2}]
    assert (result["path"], result["version"], result["reward"]) == (str(store), 2, "none")
    assert (result["episodes"], result["steps"], result["return_mean"]) == (2, 5, 0)
    _, again, _ = replay("import", one, "--into", store, "--json")
    assert again["rows"] == [row | {"added": 0, "already_there": 2}]
    assert (again["version"], again["episodes"]) == (2, 2)
    assert replay("show", store, "--episode", 1, "--json")[1]["source"]["kind"] == "robot"


def test_import_tells_people_a_table(recorded, tmp_path, capsys):
    assert run(["replay", "import", str(recorded()), "--into", str(tmp_path / "replay")]) == 0
    assert "reward" in capsys.readouterr().out


@pytest.fixture
def rewards(tmp_path, monkeypatch):
    """A module of reward functions that can be imported."""
    (tmp_path / "planted_rewards.py").write_text(
        "import numpy as np\n"
        "ONE = 1\n"
        "def forward(obs, action): return obs['mark'][:, 0] + 10 * action[:, 0]\n"
        "def short(obs, action): return np.zeros(len(action) - 1)\n"
        "def nothing(obs, action): pass\n"
        "def endless(obs, action): return np.full(len(action), np.inf)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("rewards")
def test_import_computes_rewards(recorded, replay, tmp_path):
    path, store = recorded(), tmp_path / "replay"
    code, result, _ = replay("import", path, "--into", store, "--reward", "planted_rewards:forward", "--json")
    assert (code, result["reward"], result["rows"][0]["added"]) == (0, "planted_rewards:forward", 2)
    one, other = EpisodeStore.open(store).episodes()
    # Ticks 0, 1 and 3, 4, 5; an episode's last action is zero.
    assert (one.reward.tolist(), other.reward.tolist()) == ([0, 1], [33, 44, 5])
    # An episode with other rewards is another episode.
    assert replay("import", path, "--into", store, "--json")[1]["rows"][0]["added"] == 2


@pytest.mark.usefixtures("rewards")
@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("", "reward '': none, or module:function of an installed module"),
        ("None", "reward 'None': none, or module:function of an installed module"),
        ("math", "reward 'math': none, or module:function"),
        ("math:", "reward 'math:': none, or module:function"),
        (":fsum", "reward ':fsum': none, or module:function"),
        ("math:fsum:x", "reward 'math:fsum:x': none, or module:function"),
        (".planted_rewards:forward", "reward '.planted_rewards:forward': none, or module:function"),
        ("./planted_rewards.py:forward", "reward './planted_rewards.py:forward': none, or module:function"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("planted_rewards:backward", "has no attribute 'backward'"),
        ("planted_rewards:ONE", "reward 'planted_rewards:ONE': not a function"),
        ("planted_rewards:short", "the reward function returned float64 (1,), not 2 numbers"),
        ("planted_rewards:endless", "reward: not finite at step 0"),
        ("planted_rewards:nothing", "the reward function returned object (), not 2 numbers"),
    ],
)
def test_import_refuses_wrong_rewards(recorded, replay, tmp_path, reward, message):
    path, store = recorded(), tmp_path / "replay"
    refused(replay("import", path, "--into", store, "--reward", reward), message)
    assert not store.exists() or len(EpisodeStore.open(store).index.number) == 0


def refused(answer, message):
    """One line that names what is wrong, and nothing on stdout."""
    code, result, err = answer
    assert (code, result) == (2, None)
    assert err.startswith("robot-wm: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.fixture
def unfit(recorder, recorded, tmp_path):
    """Files that cannot be imported into a store of ``recorded``, by what is wrong with them."""
    whole = recorded().read_bytes()
    running = recorder("running").path
    files = {
        "text": tmp_path / "text.mcap",
        "cut": tmp_path / "cut.mcap",
        "damaged": tmp_path / "damaged.mcap",
        "missing": tmp_path / "missing.mcap",
        "other": recorded("other", robot="other"),
        "running": running.with_name(running.name + ".part"),
    }
    files["text"].write_text("not an MCAP")
    files["cut"].write_bytes(whole[: len(whole) // 2])
    at = whole.index(b"zstd", whole.index(b"zstd") + 1) + 100  # in the second chunk, the first one with ticks
    files["damaged"].write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    return files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "text.mcap: not an MCAP file"),
        ("cut", "cut.mcap: was never finished; its first "),
        ("damaged", "damaged.mcap: damaged at byte "),
        ("missing", "missing.mcap: cannot be read: No such file or directory"),
        ("other", "made for another agent: robot: 'toy' != 'other'"),
        ("running", ".mcap.part: is still being recorded"),
    ],
)
def test_import_refuses_a_file_in_one_line(recorded, replay, unfit, tmp_path, name, message):
    store = tmp_path / "replay"
    if name != "other":  # of the first, there is no store to compare with
        refused(replay("import", unfit[name], "--into", store, "--json"), message)
        assert not store.exists()
    # A commit a file: those before it are in the store, it and those behind it are not.
    one, more = recorded("one"), recorded("more", robot="toy")
    refused(replay("import", one, unfit[name], more, "--into", store, "--json"), message)
    assert (EpisodeStore.open(store).version, EpisodeStore.open(store).summary()["episodes"]) == (2, 2)


def test_import_needs_a_file_and_a_store(recorded, replay, tmp_path):
    refused(replay("import", "--into", tmp_path / "replay"), "import: give at least one recording")
    refused(replay("import", recorded()), "--into")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    refused(replay("import", recorded("again"), "--into", tmp_path / "notes"), "notes: exists and is no replay store")
    assert not (tmp_path / "replay").exists()


def test_import_names_what_it_leaves_out_on_request(replay, unfit, tmp_path):
    store = tmp_path / "replay"
    code, result, err = replay("import", unfit["damaged"], "--into", store, "--skip-damaged", "--json")
    (row,) = result["rows"]
    assert code == 0
    assert row["ticks"] < 6
    assert [words.split(",")[0].rstrip("0123456789") for words in row["damage"]] == ["damaged at byte "]
    assert err == f"{unfit['damaged']}: {row['damage'][0]}\n"

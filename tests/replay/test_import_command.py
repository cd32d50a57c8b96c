"""`robot-wm replay import` as a user types it."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.cli import run
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder


@pytest.fixture
def recorder(tmp_path, make_spec):
    """A recorder of six ticks of which the third has a fault: two episodes of 2 and 3 steps."""
    open_recorders = []

    def begin(folder="recorded", **changes):
        spec = make_spec(**changes)
        recorder = TickRecorder(tmp_path / folder, spec, bundle_sha256="5" * 64)
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
        "recorder": "toy",
        "ticks": 6,
        "duration_s": 0.1,
        "episodes": 2,
        "steps": 5,
        "terminated": 0,
        "after_end": 0,
        "added": 2,
        "replaced": 0,
        "already_there": 0,
        "not_driven": 1,
        "too_short": 0,
        "paused": 0,
        "missing": 0,
        "skipped": 0,
        "bridged_gaps": 0,
        "bridged_ticks": 0,
        "split_by_missing": 0,
        "split_by_time": 0,
        "damage": [],
    }
    # Another recording is another experience, also where all that is in it is the same.
    assert rows == [row, row | {"file": str(other), "version": 3}]
    assert (result["path"], result["version"], result["reward"]) == (str(store), 3, "none")
    assert (result["episodes"], result["steps"], result["return_mean"]) == (4, 10, 0)
    _, again, _ = replay("import", one, "--into", store, "--json")
    assert again["rows"] == [row | {"version": 3, "added": 0, "already_there": 2}]
    assert (again["version"], again["episodes"]) == (3, 4)
    assert replay("show", store, "--episode", 1, "--json")[1]["source"]["kind"] == "robot"


def test_import_tells_people_a_table(recorded, tmp_path, capsys):
    path = recorded()
    assert run(["replay", "import", str(path), "--into", str(tmp_path / "replay")]) == 0
    told = capsys.readouterr()
    assert "reward" in told.out
    came = "2 episodes of 5 steps (2 added, 0 replaced, 0 already there), 0 with an end"
    skipped = "0 ticks skipped: 0 in 0 gaps bridged, cut at the other 0 places"
    assert told.err == f"{path}: 6 ticks (0.1 s); {came}; {skipped}; 0 ticks not recorded: cut at 0 places\n"


def test_recordings_lists_where_episodes_come_from(recorded, replay, tmp_path):
    store = tmp_path / "replay"
    replay("import", recorded(), recorded("other"), "--into", store)
    code, result, _ = replay("recordings", store, "--json")
    assert (code, result["version"]) == (0, 3)
    assert len({row["id"] for row in result["rows"]}) == 2
    for row in result["rows"]:
        assert row["id"]
        assert (row["episodes"], row["steps"], row["terminated"], row["bridged_steps"]) == (2, 5, 0, 0)
    assert replay("recordings", store, "--version", 2, "--json")[1]["rows"] == result["rows"][:1]


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
    # Without a function, what is there stays.
    assert replay("import", path, "--into", store, "--json")[1]["rows"][0]["already_there"] == 2
    assert [episode.reward.tolist() for episode in EpisodeStore.open(store).episodes()] == [[0, 1], [33, 44, 5]]
    other, plain = recorded("other"), tmp_path / "plain"
    replay("import", other, "--into", plain)
    row = replay("import", other, "--into", plain, "--reward", "planted_rewards:forward", "--json")[1]["rows"][0]
    assert (row["added"], row["replaced"], row["already_there"]) == (2, 2, 0)


@pytest.mark.usefixtures("rewards")
@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("", "reward '': none, task, or module:function of an installed module"),
        ("None", "reward 'None': none, task, or module:function of an installed module"),
        ("math", "reward 'math': none, task, or module:function"),
        ("math:", "reward 'math:': none, task, or module:function"),
        (":fsum", "reward ':fsum': none, task, or module:function"),
        ("math:fsum:x", "reward 'math:fsum:x': none, task, or module:function"),
        (".planted_rewards:forward", "reward '.planted_rewards:forward': none, task, or module:function"),
        ("./planted_rewards.py:forward", "reward './planted_rewards.py:forward': none, task, or module:function"),
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

"""From a run to an agent of the zoo, and all of them signed anew."""

import json

import pytest
import safetensors.torch
import torch
from PIL import Image

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.monitor import Calibration, ChangeLimit, MonitorSection
from robot_wm.runtime.signature import generate_key
from robot_wm.training.checkpoint import load_agent
from robot_wm.zoo.catalog import CARD, CURVE, PAGE, PICTURE
from robot_wm_export.zoo_curve import read_curve
from robot_wm_export.zoo_entry import write_bundle_zip

FILES = {"agent.rwm.zip", "card.json", "card.md", "card.png", "curve.csv", "learner.safetensors", "state.json"}


def refusal(arguments, capsys):
    capsys.readouterr()
    assert robot_wm([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("pybullet build time")]
    assert (out, len(lines)) == ("", 1)
    return lines[0]


def contents(zoo):
    return {path.relative_to(zoo.root): path.read_bytes() for path in zoo.root.rglob("*") if path.is_file()}


def test_an_entry_has_all_its_files_and_no_path_of_this_machine(pole_zoo, pole_run):
    folder = pole_zoo.folder("pole")
    assert {path.name for path in folder.iterdir()} == FILES
    for path in folder.iterdir():
        assert str(pole_run).encode() not in path.read_bytes(), path
    assert pole_zoo.size_bytes("pole") < 3e5


def test_the_card_tells_what_the_run_was_and_what_both_engines_showed(pole_zoo, pole_run):
    card, state = pole_zoo.card("pole"), load_agent(pole_run).state
    assert (card.task, card.size, card.trained_backend) == ("cartpole_balance", "nano", "pybullet")
    assert (card.env_steps, card.updates, card.training_s, card.git_commit) == (600, 7, 12.5, "abc")
    assert card.robot_minutes == pytest.approx(600 / 50 / 60)
    assert card.note == "It was never trained."
    assert card.training_falls is None  # a pole knows no falls, whatever the run counted
    assert card.spec_sha256 == state.agent_spec.content_hash()
    assert set(card.evaluations) == {"pybullet", "mujoco"}
    for result in card.evaluations.values():
        assert (result.episodes, result.falls, result.success_rate) == (1, None, None)
        assert 0 < result.return_mean <= result.length_mean <= 500
        assert 0 < result.figures["upright_share"] <= 1
    assert card.evaluations["pybullet"].return_mean != card.evaluations["mujoco"].return_mean


def test_the_page_and_the_picture_show_it(pole_zoo):
    folder, card = pole_zoo.folder("pole"), pole_zoo.card("pole")
    page = (folder / PAGE).read_text()
    for words in ("# zoo:pole", "| pybullet | mujoco |", card.command, card.spec_sha256, "`upright_share`", card.note):
        assert words in page
    assert "falls" not in page
    assert f"| {card.evaluations['pybullet'].return_mean:.1f} ± 0.0 |" in page
    with Image.open(folder / PICTURE) as picture:
        assert picture.size == (1100, 550)
        assert len(picture.getcolors()) > 20


def test_the_curve_keeps_how_the_robot_did(pole_zoo):
    assert read_curve(pole_zoo.folder("pole") / CURVE) == [
        {"step": 300, "episode/return": 11.5},
        {"step": 600, "episode/return": 12.25, "eval/return": 13.0, "run/wall_s": 12.5},
    ]


def test_weights_are_those_of_the_run_rounded_to_half_precision(pole_zoo, pole_run):
    ours, theirs = (load_agent(path).agent.state_dict() for path in (pole_zoo.folder("pole"), pole_run))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], tensor.half().float()), name
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_bundle_is_signed_and_made_of_the_stored_weights(pole_zoo):
    agent = load_agent(pole_zoo.folder("pole")).agent
    with Bundle.open(pole_zoo.bundle("pole"), pole_zoo.public_key) as opened:
        assert set(opened.manifest.files) == {POLICY_OP17, "parity.npz", "README.md"}
        assert opened.manifest.lineage.steps == 600
        assert opened.manifest.lineage.model_extra["checkpoint"] == "step_000000600"
        recording = opened.recording()
    given = {name: torch.tensor(array[:, 0]) for name, array in recording.inputs.items()}  # [N, …]
    keep = 1.0 - torch.tensor(recording.inputs["is_first"])  # [N, 1]
    kept = (given[f"state/{name}"].flatten(1) * keep for name in ("deter", "stoch", "action"))
    with torch.inference_mode():
        deter = agent.rssm.gru(*kept)  # [N, D], in which no draw of this tick has a part
    assert torch.allclose(deter, torch.tensor(recording.outputs["next/deter"][:, 0]), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "pole"), "zoo:pole: is there already; add --force"),
        (("--name", "Pole"), "--name 'Pole': small letters"),
        (("--name", "../pole"), "--name '../pole': small letters"),
        (("--name", "a", "--run", "/nowhere"), "/nowhere: no checkpoint there"),
        (("--name", "a", "--zoo", "/nowhere"), "/nowhere: no folder that can be written"),
        (("--name", "a", "--sign", "/nowhere.pem"), "/nowhere.pem"),
    ],
)
def test_what_cannot_be_added_is_refused_and_changes_nothing(arguments, words, copied, pole_run, capsys):
    before = contents(copied)
    given = {"--run": pole_run, "--zoo": copied.root} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert words in refusal(("zoo", "add", *(token for pair in given.items() for token in pair)), capsys)
    assert contents(copied) == before


def test_an_agent_signed_by_another_key_is_not_mixed_in(copied, pole_run, tmp_path, capsys):
    generate_key(tmp_path / "other.pem")
    before = contents(copied)
    command = ("zoo", "add", "--run", pole_run, "--name", "b", "--zoo", copied.root)
    assert "another key than" in refusal((*command, "--sign", tmp_path / "other.pem"), capsys)
    assert contents(copied) == before


def test_weights_that_half_precision_cannot_hold_are_refused(copied, make_run, tmp_path, capsys):
    run = make_run(tmp_path / "run", "cartpole_balance")
    path = load_agent(run).path / "learner.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["agent/critic.out.bias"][3] = 7e4
    safetensors.torch.save_file(tensors, path)
    (path.parent / "SHA256SUMS").unlink()
    line = refusal(("zoo", "add", "--run", run, "--name", "b", "--zoo", copied.root), capsys)
    assert "critic.out.bias has weights beyond ±65504" in line
    assert copied.names() == ("pole",)
    assert [entry.name for entry in (copied.root / "agents").iterdir()] == ["pole"]


def test_unsigned_it_is_there_but_does_not_open(copied, add, pole_run, capsys):
    assert add(copied, pole_run, "bare", "--backends", "pybullet") == 0
    assert "zoo:bare is not signed: robot-wm zoo sign --key" in capsys.readouterr().err
    assert copied.names() == ("bare", "pole")
    with pytest.raises(UserError, match="not signed, but a public key is configured"):
        Bundle.open(copied.bundle("bare"), copied.public_key)


def test_sign_makes_every_bundle_anew_from_its_weights_for_the_new_key(copied, tmp_path, capsys):
    generate_key(tmp_path / "new.pem")
    old_key = tmp_path / "old.pub.pem"
    old_key.write_bytes(copied.public_key.read_bytes())
    before = contents(copied)
    copied.bundle("pole").write_bytes(b"of an older version of the manifest")
    assert robot_wm(["zoo", "sign", "--key", str(tmp_path / "new.pem"), "--zoo", str(copied.root)]) == 0
    Bundle.open(copied.bundle("pole"), copied.public_key).close()
    with pytest.raises(UserError, match="not by the configured public key"):
        Bundle.open(copied.bundle("pole"), old_key)
    after = contents(copied)
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed == {"zoo.pub.pem", "agent.rwm.zip"}
    assert "PRIVATE" not in copied.public_key.read_text()
    assert "zoo:pole: gets no monitor, for that of its bundle cannot be kept: " in capsys.readouterr().err


def monitor_of(zoo):
    with Bundle.open(zoo.bundle("pole"), zoo.public_key) as opened:
        return opened.manifest.monitor


def test_a_monitor_is_kept_until_it_is_taken_off(copied, key, tmp_path, capsys):
    calibration = Calibration(
        false_alarm_rate=0.01, episodes=199, episode_s=11.2, backend="pybullet", randomisation="none"
    )
    made = MonitorSection(change=ChangeLimit(ticks=50, limit=3.25, settle_ticks=50, calibration=calibration))
    write_bundle_zip(load_agent(copied.folder("pole")), copied.bundle("pole"), key, monitor=made)
    generate_key(tmp_path / "new.pem")
    command = ["zoo", "sign", "--key", str(tmp_path / "new.pem"), "--zoo", str(copied.root)]
    assert robot_wm(command) == 0
    assert monitor_of(copied) == made
    assert "gets no monitor" not in capsys.readouterr().err
    assert robot_wm([*command, "--monitor", "0"]) == 0
    assert monitor_of(copied) is None


def test_a_pole_that_always_falls_sets_no_limit(copied, key, capsys):
    command = ("zoo", "sign", "--key", key, "--zoo", copied.root, "--monitor", "19", "--monitor-rate", "0.1")
    before = contents(copied)
    assert refusal(command, capsys).endswith(
        "monitor: episodes that end on the ground set no limit: a false alarm rate of 0.05 needs 19 episodes, got 0 "
        "without a fall"
    )
    assert contents(copied) == before


def test_sign_evaluates_again_where_it_is_asked_to(copied, key, capsys):
    path = copied.folder("pole") / CARD
    stale = json.loads(path.read_text())
    stale["evaluations"]["pybullet"]["return_mean"] = 499.0
    path.write_text(json.dumps(stale))
    command = ["zoo", "sign", "--key", str(key), "--zoo", str(copied.root), "--episodes", "2", "--backends", "pybullet"]
    assert robot_wm(command) == 0
    (result,) = copied.card("pole").evaluations.values()
    assert result.episodes == 2
    assert result.return_mean < 499.0
    page = (copied.folder("pole") / PAGE).read_text()
    assert f"{result.return_mean:.1f}" in page
    assert copied.card("pole").note in page
    assert copied.card("pole").note == "It was never trained."


def test_an_agent_whose_task_has_changed_is_named_with_the_field_and_nothing_is_signed(copied, tmp_path, capsys):
    state = copied.folder("pole") / "state.json"
    told = json.loads(state.read_text())
    told["agent_spec"]["control_rate_hz"] = 25.0
    state.write_text(json.dumps(told))
    before = contents(copied)
    generate_key(tmp_path / "new.pem")
    line = refusal(("zoo", "sign", "--key", tmp_path / "new.pem", "--zoo", copied.root), capsys)
    assert "zoo:pole: task cartpole_balance: made for another agent: control_rate_hz: 25.0 != 50.0" in line
    assert contents(copied) == before


def test_an_empty_zoo_has_nothing_to_sign(tmp_path, key, capsys):
    assert "there is no agent to sign" in refusal(("zoo", "sign", "--key", key, "--zoo", tmp_path), capsys)

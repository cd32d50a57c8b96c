"""Names of agents become paths and keys, and what is no name is told in one line."""

import json
import shutil
from pathlib import Path

import pytest

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.zoo.catalog import CARD, Card, Zoo, locate_bundle


def refusal(arguments, capsys):
    assert robot_wm([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    return err


def test_a_path_stays_what_it_is_with_its_key():
    assert locate_bundle(Path("agent.rwm")) == (Path("agent.rwm"), None)
    assert locate_bundle(Path("a/zoo:b.rwm"), Path("k.pem")) == (Path("a/zoo:b.rwm"), Path("k.pem"))


def test_an_agent_is_opened_by_the_zoos_key_and_by_no_other(pole_zoo, monkeypatch):
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: pole_zoo))
    path, key = locate_bundle(Path("zoo:pole"))
    with Bundle.open(path, key) as opened:
        assert opened.signature_checked
        assert opened.spec.task == "cartpole_balance"
    with pytest.raises(UserError, match=r"zoo:pole: is checked by the zoo's own key; leave mine\.pem out"):
        locate_bundle(Path("zoo:pole"), Path("mine.pem"))


def test_a_bundle_that_somebody_else_signed_does_not_run(copied, tmp_path, monkeypatch, capsys):
    robot_wm(["export", "generate-key", "--out", str(tmp_path / "other.pem")])
    shutil.copyfile(tmp_path / "other.pub.pem", copied.public_key)
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: copied))
    capsys.readouterr()
    assert "the signature is not by the configured public key" in refusal(("run", "zoo:pole"), capsys)


@pytest.mark.parametrize(
    "command",
    [
        ("run", "zoo:nobody"),
        ("run", "--bundle", "zoo:nobody"),
        ("eval", "zoo:nobody"),
        ("eval", "--bundle", "zoo:nobody"),
        ("bundle", "install", "zoo:nobody"),
        ("engine", "key", "zoo:nobody"),
        ("firmware", "check", "--robot", "cartpole", "--bundle", "zoo:nobody"),
        ("bench", "roofline", "--bundle", "zoo:nobody"),
        ("zoo", "card", "nobody"),
        ("zoo", "card", "../agents/pole"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(command, pole_zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: pole_zoo))
    root = ("--root", tmp_path) if command[0] == "bundle" else ()
    assert "there is no such agent; there are: pole" in refusal((*command, *root), capsys)


def test_an_empty_zoo_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: Zoo(tmp_path)))
    assert "zoo:pole: there is no such agent; there are: none yet" in refusal(("run", "zoo:pole"), capsys)


def test_both_ways_to_name_a_bundle_run_it(pole_zoo, monkeypatch, capsys):
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: pole_zoo))
    results = []
    for given in (("zoo:pole",), ("--bundle", "zoo:pole")):
        for command in (("run", *given, "--no-realtime"), ("eval", *given, "--episodes", "1", "--seed", "0")):
            assert robot_wm([*command, "--json"]) == 0
            results.append(json.loads(capsys.readouterr().out))
    assert {result["bundle"] for result in results} == {"zoo:pole"}
    assert len({result["return_mean"] for result in results}) == 1


def test_an_agent_of_the_zoo_is_installed_like_any_bundle(pole_zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Zoo, "shipped", classmethod(lambda cls: pole_zoo))
    assert robot_wm(["bundle", "install", "zoo:pole", "--root", str(tmp_path), "--json"]) == 0
    installed = json.loads(capsys.readouterr().out)
    assert (installed["task"], installed["has_signature"]) == ("cartpole_balance", True)


def test_the_list_and_the_card_tell_what_the_card_holds(pole_zoo, capsys):
    card, zoo = pole_zoo.card("pole"), ("--zoo", str(pole_zoo.root))
    assert robot_wm(["zoo", "list", *zoo, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    size = sum(path.stat().st_size for path in pole_zoo.folder("pole").iterdir())
    assert row.pop("megabytes") == pytest.approx(size / 1e6)
    assert Card.model_validate(row) == card
    assert robot_wm(["zoo", "list", *zoo]) == 0
    told = capsys.readouterr().out
    for words in ("zoo:pole", "nano", "pybullet", "mujoco", f"{card.evaluations['mujoco'].return_mean:.1f}", "--steps"):
        assert words in told
    assert robot_wm(["zoo", "card", "zoo:pole", *zoo]) == 0
    told = capsys.readouterr().out
    assert told.startswith("# zoo:pole\n")
    assert told.rstrip().endswith(str(pole_zoo.folder("pole")))


def test_a_damaged_card_names_the_file_and_the_field(copied, capsys):
    path = copied.folder("pole") / CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env_steps": "many"}))
    line = refusal(("zoo", "list", "--zoo", copied.root), capsys)
    assert f"{path}: env_steps" in line
    assert "'many'" in line

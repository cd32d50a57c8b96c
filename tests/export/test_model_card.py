"""A bundle's card says what its manifest says, whatever that is called, and the Hub reads it."""

from __future__ import annotations

import json
import re

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from robot_wm.errors import UserError
from robot_wm.model_card import model_card, require_license
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, MODEL_CARD, Lineage, Manifest
from robot_wm.runtime.monitor import Calibration, ChangeLimit, MonitorSection
from robot_wm.runtime.planner_section import Planner, PlannerGate
from robot_wm.spec import CommandField, JointLimits

HOSTILE = "x`|</td>\n# <script>a</script> [l](http://h) ![i](j) *b* \x1b[31m --- {{ 7*7 }} {% raw %} &amp; $m$"
EVALUATION = {"return_mean": 12.345, "return_std": 0.5, "episodes": 4, "length_mean": 99.6, "backend": "pybullet"}
EVALUATION |= {"success_rate": None, "falls": 1, "figures": {"speed_m_s": 0.123456, "never": None}}


def changed(manifest: Manifest, *, lineage: dict | None = None, spec: dict | None = None, **update) -> Manifest:
    if lineage is not None:
        update["lineage"] = Lineage.model_validate(lineage)
    if spec is not None:
        update["spec"] = manifest.spec.model_copy(update=spec)
        update["spec_sha256"] = update["spec"].content_hash()
    return manifest.model_copy(update=update)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, as a reader of Markdown sees them."""
    found, row = [], []
    tokens = MarkdownIt("commonmark").enable("table").parse(text.split("---\n", 2)[2])
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(row := [])
        elif token.type in ("th_open", "td_open"):
            row.append("".join(child.content for child in after.children))
    return found


def test_a_bundle_has_its_card_which_is_listed_and_covered(exported):
    with Bundle.open(exported.path) as bundle:
        text = bundle.read(MODEL_CARD).decode()
        without = changed(bundle.manifest, files={k: v for k, v in bundle.manifest.files.items() if k != MODEL_CARD})
        assert text == model_card(without) == model_card(bundle.manifest)
    (exported.path / MODEL_CARD).rename(exported.path.parent / "kept")
    try:
        (exported.path / MODEL_CARD).write_text(text.replace("50 Hz", "51 Hz"))
        with pytest.raises(UserError, match=rf"{MODEL_CARD} was changed"):
            Bundle.open(exported.path)
    finally:
        (exported.path.parent / "kept").replace(exported.path / MODEL_CARD)


def test_a_robot_with_an_older_robot_wm_takes_the_bundle(exported):
    """The card is one more listed file; of the manifest no key is new, and its version is the one that it was."""
    told = json.loads((exported.path / MANIFEST).read_text())
    assert told["schema_version"] == 2
    assert set(told) == {"schema_version", "kind", "spec", "spec_sha256", "files", "state", "noise", "outputs", "draws",
                         "surprise_unit", "planner", "parity", "lineage"}  # fmt: skip


def test_its_fields_are_the_manifests(exported):
    spec = exported.manifest.spec
    limits = (JointLimits(position=(-1.5, 2), velocity=21, effort=33.5, rate=4), JointLimits(), JointLimits(effort=5))
    manifest = changed(
        exported.manifest,
        spec={
            "action": spec.action.model_copy(update={"limits": limits}),
            "commands": (CommandField(name="ahead", unit="m/s", low=-0.5, high=1),),
        },
        lineage={
            "git_commit": "abc123",
            "steps": 1234567,
            "updates": 4321,
            "replay_version": 57,
            "bundle_version": 9,
            "license": "cc-by-4.0",
            "config": {"seed": 3, "dreamer": {"size": "3m"}, "task": "tiny"},
            "evaluation": EVALUATION,
            "reality": {"findings": {"gap": "10 steps bring 20% less"}},
        },
    )
    text = model_card(manifest)
    about, seen, joints, figures, parity = tables(text)
    assert dict(row[:2] for row in about[1:]) == {
        "agent": "DreamerV3, size 3m",
        "task, robot": "tiny, tiny; drives as in the profile tiny",
        "rates": "50 Hz control over 500 Hz physics, a history of 2",
        "AgentSpec": manifest.spec_sha256,
        "number of the bundle": "9",
        "license": "cc-by-4.0",
    }
    assert seen[1:] == [
        ["position", "3", "rad", "sensor", "0.1 s"],
        ["velocity", "2", "rad/s", "sensor", "0.1 s"],
    ]
    assert joints[1:] == [
        ["a", "-1.5 to 2", "21", "33.5", "4"],
        ["b", "–", "–", "–", "–"],
        ["c", "–", "–", "5", "–"],
    ]
    assert figures == [
        ["", "pybullet"],
        ["episodes", "4"],
        ["return", "12.3 ± 0.5"],
        ["falls", "1 of 4"],
        ["length, control steps", "100"],
        ["speed_m_s", "0.1235"],
    ]
    for name, error, flips in parity[1:]:
        result = manifest.parity.results[name]
        assert error == f"{max(result.largest_error.values()):.2g}"
        assert flips == f"{result.free_running_flips} of {result.free_running_draws}"
    for words in (
        "`ahead`: -0.5 to 1 m/s",
        "1,234,567 steps of the environment, 4,321 updates",
        "* seed 3",
        "* version 57 of its replay store",
        "commit `abc123`",
        "* 10 steps bring 20% less",
        "It has no monitor",
        "Over 256 recorded ticks",
    ):
        assert words in text
    settings = re.search(r"```json\n(.*?)\n```", text, re.S)
    assert json.loads(settings[1]) == manifest.lineage.config


def test_what_is_not_known_is_said(exported):
    text = model_card(changed(exported.manifest, lineage={}))
    assert "It was not evaluated while it learned." in text
    assert "Nobody compared what it imagines" in text
    assert "license | none was given" in text
    assert "steps of the environment" not in text
    audited = model_card(changed(exported.manifest, lineage={"reality": {"gap_at_least": 0.0, "findings": {}}}))
    assert "was compared with what comes of it: nothing was found" in audited


def test_a_monitor_is_told_with_the_rate_that_it_was_made_for(exported):
    made = Calibration(false_alarm_rate=0.025, episodes=200, episode_s=20, backend="mujoco", randomisation="mild")
    change = ChangeLimit(ticks=50, limit=3, settle_ticks=5, calibration=made)
    text = model_card(changed(exported.manifest, monitor=MonitorSection(change=change)))
    assert "at most 2.5 % of episodes (200 of 20 s in mujoco, worlds: mild)" in text
    assert "no monitor" not in text
    assert "about to fall" not in text


def test_words_of_others_are_no_markup(exported):
    """Tasks, robots and settings come with files that nobody vouches for."""
    spec = exported.manifest.spec
    hostile = changed(
        exported.manifest,
        spec={
            "task": HOSTILE,
            "robot": HOSTILE,
            "action": spec.action.model_copy(update={"joints": (HOSTILE, "b", "c"), "unit": HOSTILE}),
            "observations": tuple(
                field.model_copy(update={"unit": HOSTILE, "labels": (HOSTILE,) * field.shape[0]})
                for field in spec.observations
            ),
        },
        lineage={
            "git_commit": HOSTILE,
            "config": {"seed": HOSTILE, "note": "```\n" + HOSTILE},
            "evaluation": EVALUATION | {"backend": HOSTILE, "figures": {HOSTILE: 1.0}},
            "reality": {"findings": {"x": HOSTILE}},
        },
    )
    text = model_card(hostile)
    assert "\x1b" not in text
    body = text.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    html = [token.content for token in tokens if token.type == "html_block"]
    assert all(re.fullmatch(r"</?details>(<summary>.*</summary>)?\n?", block) for block in html), html
    for token in tokens:
        kinds = {child.type for child in token.children or ()}
        assert kinds <= {"text", "code_inline", "softbreak", "text_special"}, token
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
    assert [len(row) for table in tables(text) for row in table[:2]] == [2, 2, 5, 5, 5, 5, 2, 2, 3, 3]
    assert "{{ 7*7 }}" in json.loads(re.search(r"```json\n(.*?)\n```", text, re.S)[1])["note"]
    assert ModelCard(text).data.tags[-1] == HOSTILE


def test_the_hub_reads_its_header(exported):
    told = ModelCard(model_card(changed(exported.manifest, lineage={"evaluation": EVALUATION, "license": "mit"}))).data
    assert (told.license, told.library_name, told.pipeline_tag) == ("mit", "robot_wm", "reinforcement-learning")
    learned = ["reinforcement-learning", "deep-reinforcement-learning", "world-model"]
    assert told.tags == [*learned, "robotics", "onnx", "dreamer", "tiny"]  # the robot is called as the task
    (result,) = told.eval_results
    assert (result.dataset_type, result.dataset_name) == ("tiny", "tiny in pybullet")
    assert (result.metric_type, result.metric_value) == ("mean_reward", "12.3 +/- 0.5")
    assert ModelCard(model_card(changed(exported.manifest, lineage={}))).data.license is None


@pytest.mark.parametrize("name", ["", "a b", "mit\nx: y", "-", "x" * 65])
def test_a_license_is_an_identifier(name):
    with pytest.raises(UserError, match="--license"):
        require_license(name)


@pytest.mark.parametrize(
    ("planned", "verdict"), [(494.56789, "pays"), (491.6, "pays"), (491.5, "does not pay, and a robot refuses it")]
)
def test_a_planner_is_told_with_what_its_gate_found(exported, planned, verdict):
    gate = PlannerGate(episodes=20, seed=0, planned=planned, reactive=491.6, interval=(-0.25, 3.2))
    planner = Planner.model_construct(kind="halving", candidates=16, depth=5, gate=gate)
    text = model_card(changed(exported.manifest, planner=planner))
    (told,) = [line for line in text.splitlines() if line.startswith("Its planner")]
    assert told == (
        f"Its planner (halving, 16 candidates, 5 steps) {verdict}: over 20 equal starts a mean return of"
        f" {planned:.6g} with it and 491.6 without, a difference of -0.25 to 3.2 (95 %)."
    )
    assert "Its planner" not in model_card(exported.manifest)

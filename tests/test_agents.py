"""Kinds of agents: found by name, described without torch, and their settings under a name of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from robot_wm import agents
from robot_wm.agents import AgentKind, agent_kind, agent_kinds
from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig
from robot_wm.training.config import TrainConfig


class ToyConfig(AgentConfig):
    """Settings of a kind from elsewhere."""

    batch_length: int = 5
    cleverness: float = 0.5


TOY = AgentKind(
    name="toy", config=ToyConfig, shapes=frozenset({"cleverness"}), make_agent=lambda *_: None, make_learner=None
)


@pytest.fixture
def toy(monkeypatch):
    """A second kind, as another distribution would bring it."""

    class Entry:
        name = "toy"

    ours, load = agents.entries, agents.load
    monkeypatch.setattr(agents, "entries", lambda group: ours(group) | {"toy": Entry()})
    monkeypatch.setattr(agents, "load", lambda entry: TOY if isinstance(entry, Entry) else load(entry))
    return TOY


def test_dreamer_is_found_and_an_unknown_kind_names_those_there_are(toy):
    assert agent_kind("dreamer").name == "dreamer"
    assert [kind.name for kind in agent_kinds()] == ["dreamer", "muzero", "toy"]
    with pytest.raises(UserError, match="unknown agent 'alphago'; known kinds: dreamer, muzero, toy"):
        agent_kind("alphago")


def test_a_kind_says_what_shapes_it_in_its_own_settings():
    for kind in agent_kinds():
        assert kind.shapes <= set(kind.config.model_fields)
        assert issubclass(kind.config, AgentConfig)


def test_no_torch_is_imported_to_read_settings():
    code = "import sys, robot_wm.training.config as c; c.TrainConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_are_given_and_saved_under_the_kinds_name(toy):
    config = TrainConfig(agent="toy", toy={"cleverness": 0.9})
    assert isinstance(config.settings, ToyConfig)
    assert config.settings.cleverness == 0.9
    saved = config.model_dump(mode="json")
    assert saved["agent"] == "toy"
    assert saved["toy"]["cleverness"] == 0.9
    assert "settings" not in saved
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert TrainConfig(agent="toy").settings == ToyConfig()
    assert config.schedule().per_step == config.train_ratio / (config.settings.batch_size * 5)


def test_settings_of_a_version_that_knew_dreamer_only_are_read():
    old = TrainConfig(dreamer={"size": "nano"}).model_dump(mode="json")
    del old["agent"]
    assert TrainConfig.model_validate(old) == TrainConfig(dreamer={"size": "nano"})


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"dreamer": {"batch_size": 0}}, ("dreamer", "batch_size")),
        ({"dreamer": {"widths": 3}}, ("dreamer", "widths")),
        ({"agent": "toy", "toy": {"cleverness": float("inf")}}, ("toy", "cleverness")),
    ],
)
def test_what_is_wrong_is_named_by_kind_and_setting(toy, values, place):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**values)
    assert [error["loc"] for error in caught.value.errors()] == [place]


def test_settings_of_a_kind_that_is_not_asked_for_are_refused(toy):
    with pytest.raises(ValidationError, match="dreamer: settings of another agent than this run's, which is toy"):
        TrainConfig(agent="toy", dreamer={"size": "nano"})


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match="unknown agent 'alphago'; known kinds: dreamer"):
        TrainConfig(agent="alphago")

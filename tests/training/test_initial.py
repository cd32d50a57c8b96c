"""A run that begins with what another one has learned."""

import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.loop import Trainer


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_dreamer):
    """The folder of a run that has trained."""
    from robot_wm.training.config import TrainConfig

    config = TrainConfig(
        task="cartpole_balance",
        run_dir=tmp_path_factory.mktemp("source") / "run",
        steps=80,
        prefill_steps=40,
        train_ratio=16.0,
        replay_capacity_steps=2000,
        device="cpu",
        dreamer=tiny_dreamer,
    )
    Trainer(config).train()
    return config.folder


def weights(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


def test_all_weights_are_the_source_s_and_nothing_else_is(tiny, source):
    trainer = Trainer(tiny(init=str(source), seed=3))
    assert load_agent(source).state.updates > 0
    for name, value in load_agent(source).agent.state_dict().items():
        assert torch.equal(trainer.agent.state_dict()[name], value), name
    learner = trainer.learner.state_dict()
    assert learner["optimiser/steps"] == 0
    assert all(not value.any() for name, value in learner.items() if name.startswith("optimiser/momentum"))
    assert (trainer.state.updates, trainer.state.env_steps, len(trainer.sources.mixture)) == (0, 0, 0)


def test_a_resumed_run_goes_on_with_its_own_weights(tiny, source):
    config = tiny(init=str(source), steps=120)
    Trainer(config).train()
    trained = weights(load_agent(config.folder, "latest").agent)
    resumed = Trainer(config.model_copy(update={"steps": 200}), resume=True)
    assert all(torch.equal(value, trained[name]) for name, value in resumed.agent.state_dict().items())
    before = load_agent(source).agent.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in trained.items())


def test_an_agent_of_the_zoo_is_one(tiny):
    from robot_wm.training.initial import load_source

    found = load_source("zoo:cartpole_balance")
    config = tiny(init="zoo:cartpole_balance", dreamer=found.state.config.settings)
    agent = Trainer(config).agent
    assert all(torch.equal(value, agent.state_dict()[name]) for name, value in found.agent.state_dict().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(init="nowhere"), "nowhere: no checkpoint there"),
        (dict(init="zoo:unheard_of"), "there is no such agent; there are: a1_stand"),
        (dict(task="cartpole_swingup"), "made for another agent"),
        (dict(dreamer=dict(units=32)), "made with --dreamer.units 16 (got 32)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tiny, source, tiny_dreamer, change, told):
    values = {"init": str(source)} | change
    if "dreamer" in change:
        values["dreamer"] = tiny_dreamer.model_copy(update=change["dreamer"])
    config = tiny(**values)
    with pytest.raises(UserError) as error:
        Trainer(config)
    assert told in str(error.value)
    assert not (config.folder / "replay").exists()

"""What can change when a run is gone on from."""

import logging

import pytest

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm.training.resumed import fixed

# Another value of each setting that 1 more, or half of it, is not good for.
OTHER = {
    "size": "1m",
    "deter": 64,
    "blocks": 2,
    "image_multipliers": (2, 3, 4, 5),
    "image_kernel": 3,
    "bins": 41,
    "compute": "bfloat16",
    "actor_warmup": 5,
    "anchor": 0.1,
    "pessimism": 0.5,
    "priority_exponent": 0.6,
}


def another(config, name):
    value = getattr(config, name)
    value = OTHER[name] if name in OTHER else value + 1 if isinstance(value, int) else value / 2
    return config.model_copy(update={name: value})


def shapes(config, spec):
    """Shapes of all that a checkpoint keeps of an agent and its replay."""
    agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, spec.action.is_discrete)
    sampler = SequenceSampler(
        spec, capacity_steps=200, length=config.batch_length, streams=2, stored=agent.stored, seed=0
    )
    rows = {name: tuple(value.shape) for name, value in sampler.state_dict().items()}
    return {name: tuple(value.shape) for name, value in agent.state_dict().items()} | rows, sampler.length


@pytest.fixture(scope="module")
def camera():
    from robot_wm.tasks import agent_spec, make_env

    env = make_env("cartpole_balance", observation="both")
    yield agent_spec(env)
    env.close()


@pytest.mark.parametrize("name", DreamerConfig.model_fields)
def test_what_shapes_a_checkpoint_is_fixed(name, tiny_dreamer, camera):
    small = tiny_dreamer.model_copy(update={"depth": 2})
    other = another(small, name)
    assert getattr(other, name) != getattr(small, name)
    if shapes(other, camera) != shapes(small, camera):
        assert f"dreamer.{name}" in fixed(TrainConfig())


def test_what_is_fixed_are_settings(tiny):
    config = tiny()
    for name in fixed(config):
        within, _, inner = name.rpartition(".")
        assert within in ("", "dreamer")
        assert inner in type(config.settings if within else config).model_fields


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"envs": 3}, r"made with --envs 2 \(got 3\), which a run keeps; .* a new --run-dir"),
        ({"replay_capacity_steps": 1000}, r"--replay-capacity-steps 2000 \(got 1000\)"),
        ({"dreamer": {"batch_length": 9}}, r"--dreamer\.batch-length 8 \(got 9\)"),
    ],
)
def test_what_the_replay_is_shaped_by_stays(tiny, changes, told):
    config = tiny(steps=70)
    Trainer(config).train()
    if "dreamer" in changes:
        changes = {"settings": config.settings.model_copy(update=changes["dreamer"])}
    with pytest.raises(UserError, match=told):
        Trainer(config.model_copy(update=changes), resume=True)


def test_a_run_goes_on_with_a_lower_learning_rate_and_tells_so(tiny, caplog):
    """As README's troubleshooting says of one that diverged."""
    config = tiny(steps=70)
    Trainer(config).train()
    lower = config.model_copy(
        update={"steps": 90, "settings": config.settings.model_copy(update={"learning_rate": 1e-6, "batch_size": 2})}
    )
    with caplog.at_level(logging.WARNING):
        trainer = Trainer(lower, resume=True)
    assert "going on with --dreamer.batch-size 2 (was 4), --dreamer.learning-rate 1e-06 (was 4e-05)" in caplog.text
    assert trainer.train().config.settings.learning_rate == 1e-6
    assert trainer.state.updates > 3


def test_a_run_that_goes_on_as_it_was_tells_nothing(tiny, caplog):
    Trainer(tiny(steps=70)).train()
    with caplog.at_level(logging.WARNING):
        Trainer(tiny(steps=90), resume=True)
    assert "going on" not in caplog.text

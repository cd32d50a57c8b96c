"""The update as a whole: determinism, resuming, learning, and what it says when numbers break."""

import dataclasses

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError


def parameters(learner):
    return torch.cat([p.detach().flatten() for p in learner.agent.parameters()])


@pytest.mark.parametrize("discrete", [False, True])
def test_updates_are_a_function_of_seed_and_batch(workshop, discrete):
    def run(learner_seed):
        learner = workshop.learner(discrete=discrete, learner_seed=learner_seed)
        for seed in range(3):
            torch.rand(7)  # torch's own generator must not matter
            result = learner.update(workshop.batch(learner, seed=seed, first=0.1))
        return parameters(learner), result

    (one, a), (two, b), (three, _) = run(0), run(0), run(1)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert all(torch.equal(a.metrics[name], b.metrics[name]) for name in a.metrics)
    assert torch.equal(a.write_back["stoch"], b.write_back["stoch"])


def test_given_noise_replaces_the_generator(workshop):
    one, two = workshop.awake(learner_seed=1), workshop.awake(learner_seed=2)
    batch = workshop.batch(one)
    noise = one.draw_noise(batch)
    before = two.generator.get_state()
    one.update(batch, noise)
    two.update(batch, noise)
    assert torch.equal(parameters(one), parameters(two))
    assert torch.equal(two.generator.get_state(), before)


def test_resumed_learner_continues_bit_for_bit(workshop):
    straight, early = workshop.learner(warmup=5), workshop.learner(warmup=5)
    for seed in range(2):
        for learner in (straight, early):
            learner.update(workshop.batch(learner, seed=seed))
    state = early.state_dict()
    early.update(workshop.batch(early, seed=9))  # must not reach into the state already taken
    late = workshop.learner(warmup=5, seed=5, learner_seed=5)
    late.load_state_dict(state)
    for seed in range(2, 4):
        for learner in (straight, late):
            learner.update(workshop.batch(learner, seed=seed))
    one, two = straight.state_dict(), late.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(tensor.is_contiguous() for tensor in one.values())


def test_a_late_actor_waits_while_model_and_critic_learn(workshop):
    learner = workshop.awake(actor_start=2, actor_warmup=2, warmup=0)

    def parts():
        named = learner.agent.named_parameters()
        whole = {name: p.detach().clone() for name, p in named if not name.startswith("slow_")}
        return (
            {name: p for name, p in whole.items() if name.startswith(kind)} for kind in ("actor.", "critic.", "rssm.")
        )

    def moved(before, after):
        return [
            any(not torch.equal(old[name], new[name]) for name in old) for old, new in zip(before, after, strict=True)
        ]

    rates = []
    for update in range(5):
        before = list(parts())
        metrics = learner.update(workshop.batch(learner, seed=update)).metrics
        rates.append(float(metrics["optimiser/actor_learning_rate"] / metrics["optimiser/learning_rate"]))
        # Its first step has a rate of exactly zero, as every warm-up's.
        assert moved(before, parts()) == [update > 2, True, True], update
    assert rates == pytest.approx([0, 0, 0, 0.5, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("optimiser/steps"), "optimiser/steps is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is not known"),
        (lambda s: s.update({"agent/rssm.gru.norm_scale": torch.zeros(3)}), r"norm_scale has shape \(3,\), .* \(16,\)"),
    ],
)
def test_state_that_does_not_fit_is_refused_by_name(workshop, change, message):
    learner = workshop.learner()
    before, state = parameters(learner), learner.state_dict()
    change(state)
    with pytest.raises(UserError, match=message):
        learner.load_state_dict(state)
    assert torch.equal(parameters(learner), before)


@pytest.mark.parametrize(("obs", "discrete"), [("proprio", False), ("image", True), ("both", False)])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_update_runs_everywhere_and_hands_back_the_posterior(workshop, obs, discrete, compute):
    learner = workshop.learner(obs=obs, discrete=discrete, compute=compute)
    batch = workshop.batch(learner, size=2, length=4)
    before = parameters(learner)
    result = learner.update(batch)
    assert result.write_back.keys() == {entry.name for entry in learner.agent.stored}
    assert result.write_back["deter"].shape == (2, 4, 16)
    stoch = result.write_back["stoch"]
    assert (stoch.shape, stoch.dtype) == ((2, 4, 4), torch.uint8)
    assert stoch.max() < 3
    assert all(m.shape == () and torch.isfinite(m) for m in result.metrics.values())
    assert not torch.equal(parameters(learner), before)
    assert {p.dtype for p in learner.agent.parameters()} == {torch.float32}
    assert learner.first_nonfinite() is None


def test_bfloat16_weights_are_cast_anew_each_update(workshop):
    """Two updates in bfloat16 stay close to two in float32, so the second one saw the first one's weights."""
    learners = [workshop.awake(compute=c, learning_rate=3e-2) for c in ("float32", "bfloat16")]
    batch = workshop.batch(learners[0])
    noise = learners[0].draw_noise(batch)
    losses = [[each.update(batch, noise).metrics["loss/rec/joints"].item() for _ in range(4)] for each in learners]
    assert losses[0][3] < 0.95 * losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_world_model_learns_a_small_world(workshop):
    """A constant-speed rotation whose reward is its first coordinate."""
    learner = workshop.learner(learning_rate=3e-3, units=32, deter=32, hidden=16, horizon=2)
    time = torch.arange(17) * 0.7
    phase = torch.linspace(0, 6, 8)[:, None] + time  # [B, T1]
    template = workshop.batch(learner, size=8, length=16)
    zeros = torch.zeros_like(template.is_first)
    batch = dataclasses.replace(
        template,
        obs={
            "joints": torch.stack([phase.sin(), phase.cos(), phase.sin() * 2, phase.cos() * 2, phase * 0], -1),
            "goal": torch.stack([phase.cos(), phase.sin()], -1),
        },
        reward=phase.sin(),
        is_first=zeros,
        is_last=zeros,
        is_terminal=zeros,
    )
    names = ("loss/rec/joints", "loss/rec/goal", "loss/reward")
    history = []
    for _ in range(120):
        metrics = learner.update(batch).metrics
        history.append(sum(metrics[name].item() for name in names))
    assert np.mean(history[-10:]) < 0.6 * np.mean(history[:5])
    shown = learner.open_loop(batch, context=8)
    error = (shown.predicted["goal"] - shown.actual["goal"])[:, :8].square().mean()
    assert error < 0.5 * shown.actual["goal"].square().mean()


def test_first_broken_tensor_is_named_for_good(workshop):
    learner = workshop.learner()
    batch = workshop.batch(learner)
    learner.update(batch)
    reward = batch.reward.clone()
    reward[0, 2] = float("inf")
    bad = learner.update(dataclasses.replace(batch, reward=reward))
    assert bad.metrics["finite/batch"].item() == 0.0
    learner.update(batch)
    assert learner.first_nonfinite() == "batch reward at update 2"


def test_broken_weight_is_named(workshop):
    learner = workshop.learner()
    with torch.no_grad():
        learner.agent.decoder.fields[1].weight[0, 0] = float("nan")
    result = learner.update(workshop.batch(learner))
    assert learner.first_nonfinite() == "parameter decoder.fields.1.weight at update 1"
    assert result.metrics["finite/parameter"].item() == 0.0
    assert result.metrics["finite/batch"].item() == 1.0


def test_open_loop_starts_as_a_reconstruction_and_follows_the_actions(workshop):
    learner = workshop.awake(obs="both")
    batch = workshop.batch(learner)
    shown = learner.open_loop(batch, context=2)
    assert shown.predicted["joints"].shape == (3, 6, 5)
    assert shown.predicted["camera"].shape == shown.actual["camera"].shape == (3, 6, 48, 64, 3)
    assert shown.actual["camera"].max() <= 1.0
    assert torch.equal(shown.actual["goal"], batch.obs["goal"][:, 1:])
    assert torch.equal(shown.actual_reward, batch.reward[:, 1:])

    def differs(**fields):
        other = learner.open_loop(dataclasses.replace(batch, **fields), context=2)
        return (other.predicted["joints"] != shown.predicted["joints"]).flatten(2).any(-1).any(0).tolist()

    obs = {name: value.clone() for name, value in batch.obs.items()}
    obs["goal"][:, 3:] += 1.0
    assert differs(obs=obs) == [False] * 6  # nothing after the context is looked at
    action = batch.action.clone()
    action[:, 4] *= -1.0
    assert differs(action=action) == [False] * 4 + [True] * 2
    with pytest.raises(UserError, match="context 6"):
        learner.open_loop(batch, context=6)

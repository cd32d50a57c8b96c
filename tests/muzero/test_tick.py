"""The tick: what it declares it keeps to; resets, noise, ranges and surprise."""

import pytest
import torch

from robot_wm.learning.agent import initial_state

MATRIX = pytest.mark.parametrize(
    ("obs", "discrete"), [("proprio", False), ("image", False), ("both", False), ("proprio", True)]
)


@MATRIX
@torch.no_grad()
def test_a_tick_keeps_to_its_declaration(studio, obs, discrete):
    agent = studio.awake(obs=obs, discrete=discrete)
    values, first, state, noise = studio.tick(agent)
    made = agent.tick(values, first, state, noise)
    for part, declared in ((made.outputs, agent.outputs), (made.state, agent.state)):
        assert {n: v.shape for n, v in part.items()} == {e.name: (4, *e.shape[1:]) for e in declared}
        assert {v.dtype for v in part.values()} == {torch.float32}
    for entry in agent.state:
        assert entry.shown
        assert made.state[entry.name] is made.outputs[entry.output]
    assert agent.belief in made.outputs


@MATRIX
@torch.no_grad()
def test_a_latent_is_made_of_simplices(studio, obs, discrete):
    agent = studio.awake(obs=obs, discrete=discrete)
    seen = agent.model.representation(studio.obs(agent))
    led = agent.model.dynamics(seen, torch.eye(4, 3)).latent
    for latent in (seen, led):
        assert latent.shape == (4, 16)
        assert latent.min() >= 0
        torch.testing.assert_close(latent.unflatten(-1, (4, 4)).sum(-1), torch.ones(4, 4))
        assert latent.std() > 1e-3


@torch.no_grad()
def test_zero_noise_is_the_policys_mode_and_noise_moves_it(studio):
    agent = studio.awake()
    values, first, state, noise = studio.tick(agent)
    policy = agent.model.policy(agent.model.representation(values))
    torch.testing.assert_close(agent.tick(values, first, state, noise).outputs["action"], policy.first)
    moved = agent.tick(values, first, state, {"noise/action": torch.full((4, 3), 0.01)}).outputs["action"]
    torch.testing.assert_close(moved, policy.first + 0.01 * policy.std)
    far = agent.tick(values, first, state, {"noise/action": torch.full((4, 3), -50.0)}).outputs["action"]
    assert torch.equal(far, torch.full((4, 3), -1.0))


@torch.no_grad()
def test_a_discrete_action_is_the_best_of_logits_and_noise(studio):
    agent = studio.awake(discrete=True)
    values, first, state, noise = studio.tick(agent)
    logits = agent.model.policy(agent.model.representation(values)).first
    greedy = agent.tick(values, first, state, noise).outputs["action"]
    assert torch.equal(greedy, torch.eye(3)[logits.argmax(-1)])
    gumbel = torch.randn(4, 3, generator=torch.Generator().manual_seed(3)) * 9
    drawn = agent.tick(values, first, state, {"noise/action": gumbel}).outputs["action"]
    assert torch.equal(drawn, torch.eye(3)[(logits + gumbel).argmax(-1)])
    assert not torch.equal(drawn, greedy)


@torch.no_grad()
def test_surprise_is_how_far_the_latent_is_from_what_was_expected(studio):
    agent = studio.awake()
    values, first, state, noise = studio.tick(agent)
    made = agent.tick(values, first, state, noise)
    expected = agent.model.dynamics(state["latent"], state["action"]).latent
    distance = torch.dist(made.state["latent"][1], expected[1]).square()
    torch.testing.assert_close(made.outputs["surprise"][1], distance)
    assert (made.outputs["surprise"] > 0).all()


@torch.no_grad()
def test_a_world_that_does_what_was_expected_does_not_surprise(studio):
    agent = studio.awake()
    values, first, state, noise = studio.tick(agent)
    # h that says of every observation what g expects of this latent and action.
    still = {name: value[:1].expand_as(value) for name, value in state.items()}
    logits = agent.model.dynamics.out(agent.model.dynamics.trunk(still["latent"], still["action"]))[0]
    agent.model.representation.out.weight.zero_()
    agent.model.representation.out.bias.copy_(logits)
    assert agent.tick(values, first, still, noise).outputs["surprise"].abs().max() < 1e-12
    assert (agent.tick(values, first, state, noise).outputs["surprise"][1:] > 1e-6).all()


@torch.no_grad()
def test_is_first_forgets_what_was_before(studio):
    agent = studio.awake(obs="both")
    values, _, state, noise = studio.tick(agent)
    first = torch.tensor([1.0, 0.0, 1.0, 0.0])
    out = agent.tick(values, first, state, noise)
    fresh = agent.tick(values, torch.ones(4), initial_state(agent.state, 4, "cpu"), noise)
    for name, wanted in fresh.outputs.items():
        assert torch.equal(out.outputs[name][::2], wanted[::2]), name
    assert not fresh.outputs["surprise"].any()
    assert out.outputs["surprise"][1::2].all()


@torch.no_grad()
def test_a_tick_is_pure_and_its_rows_do_not_mix(studio):
    agent = studio.awake(obs="both").eval()
    given = studio.tick(agent)
    whole = agent.tick(*given)
    again = agent.tick(*given)
    values, first, state, noise = given
    cut = [{name: value[2:3] for name, value in part.items()} for part in (values, state, noise)]
    alone = agent.tick(cut[0], first[2:3], cut[1], cut[2])
    for name, value in whole.outputs.items():
        assert torch.equal(again.outputs[name], value), name
        torch.testing.assert_close(alone.outputs[name], value[2:3], atol=1e-5, rtol=1e-5)


def test_an_episode_begins_with_nothing(studio):
    agent = studio.agent()
    begun = initial_state(agent.state, 2, "cpu")
    assert {name: tuple(value.shape) for name, value in begun.items()} == {"latent": (2, 16), "action": (2, 3)}
    assert not any(value.any() for value in begun.values())


@torch.no_grad()
def test_an_actor_needs_what_acts_and_searches_and_nothing_else(studio):
    agent = studio.awake(obs="both")
    given = studio.tick(agent)
    given[-1]["noise/action"].fill_(0.1)
    model = agent.latent_model()

    def acts():
        made = agent.tick(*given)
        led = model.step(made.state["latent"], made.outputs["action"])
        return [*made.outputs.values(), led.reward, led.discount, led.prediction.value, led.latent]

    before = [value.clone() for value in acts()]
    acting = list(agent.acting())
    names = {id(parameter): name for name, parameter in agent.named_parameters()}
    assert len({id(parameter) for parameter in acting}) == len(acting)
    for name, parameter in agent.named_parameters():
        if id(parameter) not in {id(p) for p in acting}:
            assert name.startswith(("consistency.", "target."))
            parameter.fill_(7.0)
    assert all(torch.equal(a, b) for a, b in zip(acts(), before, strict=True))
    for parameter in acting:
        kept = parameter.clone()
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        same = [torch.equal(a, b) for a, b in zip(acts(), before, strict=True)]
        assert not all(same), f"{names[id(parameter)]} moves nothing that acts"
        parameter.copy_(kept)

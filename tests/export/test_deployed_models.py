"""The models that planners ask in an engine compute what the trained ones do, in fewer products."""

import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.dreamer.pessimism import Ensemble
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.latent_model import MuZeroLatentModel
from robot_wm.muzero.networks import Networks
from robot_wm.nn.encoder import Inputs
from robot_wm.nn.heads import ScalarHead
from robot_wm.nn.layers import initialise
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.spec import InputShape
from robot_wm_export.dreamer.deployed_model import DeployedDreamerModel
from robot_wm_export.muzero.deployed_model import DeployedMuZeroModel

INPUTS = {"joints": InputShape(shape=(5,), dtype="float32")}
ACTIONS = 3


def awake(module):
    """Every number of it counts: no bias is 0, no scale 1, and scalars are not 0 without training."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.2)
        for head in module.modules():
            if isinstance(head, ScalarHead):
                head.out.bias.sub_(2.0 * head.twohot.bins.abs().log1p())
    return module.eval()


def dreamer(discrete, **settings):
    config = DreamerConfig.model_validate(
        {"size": "nano", "deter": 32, "hidden": 8, "units": 12, "stoch": 4, "classes": 3, "bins": 31, **settings}
    )
    agent = awake(DreamerAgent(config, INPUTS, ACTIONS, discrete, generator=torch.Generator().manual_seed(0)))
    model = DreamerLatentModel(agent)

    def latents(count, g):
        stoch = torch.eye(3)[torch.randint(0, 3, (count, 4), generator=g)].flatten(1)
        return torch.cat([torch.rand(count, 32, generator=g) * 2 - 1, stoch], -1)

    return model, DeployedDreamerModel(model), latents


def muzero(discrete, **settings):
    config = MuZeroConfig.model_validate({"size": "nano", "latent": 16, "units": 24, "bins": 21, **settings})
    networks = Networks(config, Inputs(INPUTS, layers=4), ACTIONS, discrete)
    initialise(networks, torch.Generator().manual_seed(0))
    model = MuZeroLatentModel(awake(networks), discount=0.9, action_dim=ACTIONS, discrete=discrete)
    return model, DeployedMuZeroModel(model), lambda count, g: torch.rand(count, 16, generator=g).softmax(-1)


MODELS = {
    "dreamer": dreamer,
    "dreamer, deep heads": lambda discrete: dreamer(discrete, reward_layers=3, continue_layers=2, prior_layers=1),
    "muzero": muzero,
    "muzero, deep heads": lambda discrete: muzero(discrete, reward_layers=2, layers=3),
}


@pytest.mark.parametrize("discrete", [False, True], ids=["continuous", "discrete"])
@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_a_deployed_model_is_the_model(kind, discrete):
    model, deployed, latents = MODELS[kind](discrete)
    g = torch.Generator().manual_seed(2)
    latent, action = latents(6, g), torch.rand(6, ACTIONS, generator=g) * 2 - 1
    if discrete:
        action = torch.eye(ACTIONS)[action.argmax(-1)]
    for root in (latent, latent[:1]):
        expected, found = model.step(root.expand(6, -1), action), deployed.step(root, action)
        pairs = [
            (found.latent, expected.latent),
            (found.reward, expected.reward),
            (found.discount, expected.discount),
            (found.prediction.value, expected.prediction.value),
            (found.prediction.policy.first, expected.prediction.policy.first),
        ]
        if not discrete:
            pairs.append((found.prediction.policy.std, expected.prediction.policy.std))
        for one, other in pairs:
            assert one.shape == other.shape
            assert other.std(0).min() > 0.0 or other.dim() > 1
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert (deployed.action_dim, deployed.discrete) == (ACTIONS, discrete)


@pytest.mark.parametrize("kind", ["dreamer", "muzero"])
@torch.no_grad()
def test_a_planner_plans_the_same_with_it(kind):
    model, deployed, latents = MODELS[kind](False)
    g = torch.Generator().manual_seed(3)
    config = FlatConfig(depth=3)
    latent, noise = latents(1, g), torch.randn(1, 16, 3, ACTIONS, generator=g)
    plans = (FlatPlanner(m, config)(latent, noise) for m in (model, deployed))
    for one, other in zip(*plans, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_it_keeps_its_weights_when_those_of_the_model_change():
    model, deployed, latents = muzero(False)
    latent = latents(2, torch.Generator().manual_seed(0))
    before = deployed.value(latent)
    for parameter in model.parameters():
        parameter.zero_()
    assert torch.equal(deployed.value(latent), before)


def test_a_pessimistic_model_is_refused():
    model, _, _ = dreamer(False)
    ensemble = Ensemble(44, ACTIONS, members=2, units=4, groups=4, classes=3)
    with pytest.raises(ValueError, match=r"^penalty is 0\.5: an ensemble"):
        DeployedDreamerModel(DreamerLatentModel(model.agent, ensemble, 0.5))

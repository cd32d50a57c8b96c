"""An actor that thinks on a GPU: its search recorded once as a CUDA graph, and replayed on what it sees next."""

import pytest
import torch

from robot_wm.learning.agent import initial_state
from robot_wm.training.thought import Senses, Thought

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
ROWS = 3


@torch.inference_mode()
@pytest.mark.parametrize("discrete", [False, True])
def test_a_recorded_thought_is_the_thought_with_todays_weights(workshop, discrete):
    agent = workshop.awake(discrete=discrete, num_simulations=8).agent.cuda()
    thought = Thought(agent.explore)
    state = mine = initial_state(agent.state, ROWS, "cuda")
    draw = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, device="cuda", generator=draw)

    for step in range(4):
        obs = {name: drawn(ROWS, width) for name, width in agent.inputs.vectors.items()}
        first = torch.full((ROWS,), float(step == 0), device="cuda")
        noise = {entry.name: drawn(ROWS, *entry.shape[1:]) for entry in agent.explore_noise}
        want = agent.explore(obs, first, state, noise)
        found = thought(Senses(obs, first, mine, noise))
        for ours, theirs in ((found.outputs, want.outputs), (found.stored, want.stored), (found.state, want.state)):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                torch.testing.assert_close(ours[name], value, msg=f"step {step}: {name}")
        state, mine = want.state, found.state
        for parameter in agent.acting():  # as an update moves them, in place
            parameter.add_(0.05 * drawn(*parameter.shape))

"""A search on a GPU, recorded as a CUDA graph and replayed on other roots."""

import dataclasses

import pytest
import torch
from tiny_model import TinyModel

from robot_wm.search.sampled import SearchConfig, SearchNoise, draw_noise, search

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("discrete", [False, True])
def test_a_captured_search_is_the_search(discrete):
    model = TinyModel(0, discrete=discrete).cuda()
    config = SearchConfig(num_simulations=32)

    def given(seed):
        draw = torch.Generator("cuda").manual_seed(seed)
        noise = draw_noise(config, batch=64, action_dim=3, discrete=discrete, device="cuda", generator=draw)
        return torch.randn(64, 6, device="cuda", generator=draw), noise

    latent, noise = given(0)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        search(model, latent, noise, config)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = search(model, latent, noise, config)

    other_latent, other_noise = given(1)
    want = search(model, other_latent, other_noise, config)
    latent.copy_(other_latent)
    for target, source in zip(noise, other_noise, strict=True):
        if target is not None:
            target.copy_(source)
    graph.replay()
    for name in (field.name for field in dataclasses.fields(out)):
        torch.testing.assert_close(getattr(out, name), getattr(want, name), msg=name)
    on_cpu = search(
        model.cpu(),
        other_latent.cpu(),
        SearchNoise(*(None if part is None else part.cpu() for part in other_noise)),
        config,
    )
    assert (out.visits.cpu() == on_cpu.visits).all(-1).float().mean() > 0.9  # a near tie may be decided otherwise

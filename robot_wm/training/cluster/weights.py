"""What an actor elsewhere acts by: the acting parameters by their names, and which update they are from."""

from __future__ import annotations

import safetensors.torch
import torch
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent


def acting_tensors(agent: Agent) -> dict[str, Tensor]:
    """The parameters of ``agent.acting()`` by their names in the agent."""
    names = {id(parameter): name for name, parameter in agent.named_parameters(remove_duplicate=False)}
    return {names[id(parameter)]: parameter for parameter in agent.acting()}


def encode(agent: Agent) -> bytes:
    """The acting parameters as safetensors, in float32."""
    tensors = acting_tensors(agent)
    # A clone: fused optimisers keep parameters as views of one storage.
    return safetensors.torch.save({name: tensor.detach().float().cpu().clone() for name, tensor in tensors.items()})


def load(agent: Agent, weights: bytes) -> None:
    """Take over what `encode` made; raises UserError where it is of an agent of other parameters."""
    mine, told = acting_tensors(agent), safetensors.torch.load(weights)
    for name in sorted(mine.keys() | told.keys()):
        shapes = [tuple(tensors[name].shape) if name in tensors else None for tensors in (mine, told)]
        if shapes[0] != shapes[1]:
            raise UserError(f"weights: {name} is {shapes[1]}, but {shapes[0]} acts here")
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(told[name])

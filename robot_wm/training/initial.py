"""`--init SOURCE`: a new run begins with the weights of a trained agent, and with nothing else of it."""

from __future__ import annotations

from robot_wm.agents import agent_kind
from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec, require_same
from robot_wm.training.checkpoint import LoadedAgent, load_agent
from robot_wm.training.config import TrainConfig, flag
from robot_wm.zoo.catalog import locate_weights


def load_source(source: str) -> LoadedAgent:
    """The trained agent that ``source`` names: a run's folder (its best checkpoint), a checkpoint's, or zoo:NAME.

    Raises UserError where there is none.
    """
    return load_agent(locate_weights(source))


def take_weights(agent: Agent, source: str, config: TrainConfig, spec: AgentSpec) -> None:
    """Give ``agent`` the weights that ``source`` names; the optimiser's moments and the counters begin anew.

    UserError names what differs where those are of another kind, of another size, or made for another spec.
    """
    loaded = load_source(source)
    theirs = loaded.state.config
    if theirs.agent != config.agent:
        raise UserError(f"--init {source}: a {theirs.agent}, not a {config.agent} (--agent)")
    require_same(loaded.spec, spec, origin=f"--init {source}")
    differ = [
        f"{flag(f'{config.agent}.{name}')} {getattr(theirs.settings, name)} (got {getattr(config.settings, name)})"
        for name in sorted(agent_kind(config.agent).shapes)
        if getattr(theirs.settings, name) != getattr(config.settings, name)
    ]
    if differ:
        raise UserError(f"--init {source}: made with {', '.join(differ)}")
    agent.load_state_dict(loaded.agent.state_dict())

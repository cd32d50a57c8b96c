"""What an agent believed along recorded episodes, as one picture for a run's report and its log."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from robot_wm.inspect.believing import believe, spread_over
from robot_wm.inspect.latent_pictures import map_figure
from robot_wm.inspect.latents import Latents
from robot_wm.inspect.maps import make_map
from robot_wm.learning.agent import Agent
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEPS, _EACH = 1500, 300  # control steps of the map, and of each of its episodes at most


def store_map(agent: Agent, spec: AgentSpec, store: EpisodeStore) -> Figure | None:
    """The two main components (PCA) of the agent's latents; None without scikit-learn (robot-wm[look]).

    Raises UserError where the agent has no latents, or the store too few episodes.
    """
    if find_spec("sklearn") is None:
        return None
    episodes = spread_over(store, _STEPS, each=_EACH)
    latents = Latents.of(believe(agent, spec, episodes, most_steps=_EACH), spec)
    return map_figure(make_map("pca", latents.latent), latents)

"""A collector's host dies under it: run as a program, since a process can be in one of Ray's clusters only.

Three hosts of this machine, each with a raylet and room for one collector of its own; prints what was seen as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import torch
from ray.cluster_utils import Cluster
from ray_cluster import PLENTY, steps_of, toy

from robot_wm.agents import agent_kind
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.training.cluster.collector import RayCollector
from robot_wm.training.config import TrainConfig
from robot_wm.training.world import look_at

_ROOM = {"num_cpus": 1, "object_store_memory": 2**27}


def main(folder: Path, dreamer: str) -> None:
    """Lose the host of one of two collectors, and add another one; the settings of the agent are JSON."""
    lines = _Lines()
    logging.getLogger("robot_wm").addHandler(lines)
    cluster = Cluster(initialize_head=True, head_node_args={**_ROOM, "include_dashboard": False})
    try:
        hosts = {host.node_id: host for host in (cluster.head_node, cluster.add_node(**_ROOM))}
        config = TrainConfig(
            **{**toy(length=18), "ray_address": cluster.address},
            run_dir=folder,
            envs=1,
            collectors=2,
            device="cpu",
            dreamer=DreamerConfig.model_validate_json(dreamer),
        )
        spec = look_at(config).spec
        agent = agent_kind(config.agent).make_agent(config.settings, spec).eval()
        collector = RayCollector(config, spec, agent, seed=3)
        try:
            print(json.dumps(_lose(cluster, hosts, collector, agent, lines)))
        finally:
            collector.close()
    finally:
        cluster.shutdown()


def _lose(cluster, hosts, collector, agent: torch.nn.Module, lines: _Lines) -> dict[str, object]:
    collector.publish(agent, policy="0", random=True, steps_permitted=PLENTY)
    before = steps_of(collector, lambda found: {step.first_stream for step in found} == {0, 1})
    places = [seat.place.node for seat in collector._seats]
    (lost,) = (seat for seat in collector._seats if seat.place.node != cluster.head_node.node_id)
    cluster.remove_node(hosts[lost.place.node], allow_graceful=False)
    begin = time.monotonic()
    alone = steps_of(collector, lambda found: lost.generation)
    noticed_s = time.monotonic() - begin
    alone += steps_of(collector, lambda found: len(found) > 40)
    third = cluster.add_node(**_ROOM)
    after = steps_of(collector, lambda found: lost.index in {step.first_stream for step in found})
    back = next(step for step in after if step.first_stream == lost.index)
    return {
        "hosts": [host == cluster.head_node.node_id for host in places],
        "lost": [lost.index, places[lost.index][:12]],
        "lines": lines.told,
        "noticed_s": noticed_s,
        "alone": sorted({step.first_stream for step in alone[-20:]}),
        "back_on_the_third": lost.place.node == third.node_id,
        "begins_anew": bool(back.is_first[0]),
        "new_seed": int(back.seed[0]) not in {int(step.seed[0]) for step in before},
    }


class _Lines(logging.Handler):
    """Warnings as they were told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

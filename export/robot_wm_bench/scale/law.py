"""How many steps a second a run can make at most, and what it is that allows no more: its wall.

A run is a closed network: collectors work on orders of `ROUNDS` rounds, the learner's thread takes what they send and
learns from it. By the utilisation law no station is busy for more than all of the time, so the throughput X is at most
1 / D of every station with the service demand D, seconds a step; and C customers, each of which needs T seconds for a
cycle where nobody else is, make at most C / T cycles a second. The least of these asymptotic bounds is the estimate
(Denning and Buzen, The Operational Analysis of Queueing Network Models, ACM Computing Surveys 10(3), 1978; Lazowska et
al., Quantitative System Performance, 1984, chapter 5). It assumes nothing of distributions, and is from above: near the
place where two bounds cross, a run makes less.

Shape letters: N environments of a collector. A step is a policy step of one environment, a round one of all N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# As the collector of a Ray cluster has them (`robot_wm.training.cluster`): rounds in an order, and the share of the
# learner's time that sending weights may take.
ROUNDS = 16
PUBLISHING_SHARE = 0.1
_LEAST_LEFT = 0.1  # of the cores, whatever else is busy


@dataclass(frozen=True)
class Parts:
    """What the parts of a run take where nothing else runs, of processor time but for ``update_s`` on a GPU."""

    envs: int  # N
    simulate_s: float  # a round, of one core
    act_s: float  # a round
    encode_s: float  # a round, on its way out of a collector
    decode_s: float  # a round, on its way into the learner
    insert_s: float  # a round, into memory and, as episodes end, into the store
    call_s: float  # an order, of the cluster's own work
    cluster_cores: float  # that the cluster keeps busy where nothing happens
    collector_cores: float  # that each process in it does
    sample_s: float  # an update: drawing its batch, storing its latents
    update_s: float  # an update of one rank
    publish_s: float  # weights, out of the learner
    load_s: float  # weights, into a collector
    round_bytes: float  # a round on the wire
    weights_bytes: float
    steps_per_update: float  # policy steps of a rank that earn an update of it


@dataclass(frozen=True)
class Site:
    """What a run is given. ``shared``: the collectors work on the learner's own cores, and nothing takes a network."""

    hosts: int  # that collect
    collectors: int  # of each host
    cores: float  # of each host, or of all together where shared
    bandwidth_bytes_s: float = 1.25e9  # of the learner's network, each way
    latency_s: float = 1e-4
    ranks: int = 1
    weak_scaling: float = 1.0  # what a rank of several does, of what one alone does
    overlapped: bool = False  # sampling is hidden behind the update, as on a GPU
    shared: bool = False


@dataclass(frozen=True)
class Estimate:
    """Rates of a run, all collectors and ranks together, and what allows no more."""

    steps_per_s: float
    updates_per_s: float  # updates of the learner, each of which has a batch of every rank
    wall: str
    walls: dict[str, float]  # steps/s that each of them would allow
    weights_age_s: float  # between new weights on a collector, and how long it waits for them


def estimate(parts: Parts, site: Site) -> Estimate:
    """The least of the bounds, and its name."""
    walls = bounds(parts, site)
    wall = min(walls, key=lambda name: walls[name])
    steps = walls[wall]
    return Estimate(
        steps_per_s=steps,
        updates_per_s=steps / site.ranks / parts.steps_per_update,
        wall=wall,
        walls=walls,
        weights_age_s=_weights_age_s(parts, site),
    )


def bounds(parts: Parts, site: Site) -> dict[str, float]:
    """Steps a second, by what would allow no more of them.

    ``collectors`` or ``weights``: all of them together, by which of the two takes more of their time. ``replay`` or
    ``learner``: the learner's thread likewise. ``network``: what comes in. ``cores``: of a machine that all share.
    """
    found = dict([_collecting(parts, site), _learning(parts, site)])
    if site.shared:
        standing = parts.cluster_cores + site.collectors * parts.collector_cores
        # Something is left over: what stands around gives way.
        found["cores"] = max(site.cores - standing, _LEAST_LEFT * site.cores) / _cores_s(parts, site)
    else:
        found["network"] = site.bandwidth_bytes_s * parts.envs / parts.round_bytes
    return found


def learner_s(parts: Parts, site: Site) -> Mapping[str, float]:
    """Seconds of a rank's thread for one of its own steps, by what it does in them."""
    taken = (parts.decode_s + parts.insert_s) / parts.envs
    sampled = max(0.0, parts.sample_s - parts.update_s) if site.overlapped else parts.sample_s
    return {
        "replay": taken + sampled / parts.steps_per_update,
        "learner": parts.update_s / parts.steps_per_update,
    }


def _collecting(parts: Parts, site: Site) -> tuple[str, float]:
    working = min(site.collectors, site.cores) if not site.shared else site.collectors
    own_s = ROUNDS * _round_s(parts)
    waited_s = _fetch_s(parts, site) + parts.load_s
    # New weights come with an order where they were published since the last one.
    per_order = min(1.0, _publishing_per_s(parts, site) * (own_s + waited_s))
    weights_s = per_order * waited_s
    name = "weights" if weights_s > own_s else "collectors"
    return name, site.hosts * working * ROUNDS * parts.envs / (own_s + weights_s)


def _learning(parts: Parts, site: Site) -> tuple[str, float]:
    demand = learner_s(parts, site)
    name = max(demand, key=lambda part: demand[part])
    left = 1.0 - parts.publish_s * _publishing_per_s(parts, site)
    scaled = site.weak_scaling if site.ranks > 1 else 1.0
    return name, left * site.ranks * scaled / sum(demand.values())


def _round_s(parts: Parts) -> float:
    return parts.simulate_s + parts.act_s + parts.encode_s


def _cores_s(parts: Parts, site: Site) -> float:
    """Seconds of a core for a step, wherever they are spent."""
    collected = (_round_s(parts) + parts.call_s / ROUNDS) / parts.envs
    return collected + sum(learner_s(parts, site).values())


def _publishing_per_s(parts: Parts, site: Site) -> float:
    """Times a second that the learner sends weights, at most: after an update, and within its share of the time."""
    update_s = parts.update_s + (0.0 if site.overlapped else parts.sample_s)
    return min(PUBLISHING_SHARE / parts.publish_s, 1.0 / update_s)


def _fetch_s(parts: Parts, site: Site) -> float:
    """Until every host has the weights, all of which come from the learner's: a broadcast by a tree would be faster."""
    if site.shared:
        return 0.0
    return site.latency_s + site.hosts * parts.weights_bytes / site.bandwidth_bytes_s


def _weights_age_s(parts: Parts, site: Site) -> float:
    cycle_s = ROUNDS * _round_s(parts) * (max(1.0, site.collectors / site.cores))
    return max(1.0 / _publishing_per_s(parts, site), cycle_s + _fetch_s(parts, site))

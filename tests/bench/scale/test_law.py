"""The scale model in closed form: limits, which way each figure pulls, and that the wall changes where bounds cross."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robot_wm_bench.scale.command import KNOBS
from robot_wm_bench.scale.law import PUBLISHING_SHARE, ROUNDS, Parts, Site, bounds, estimate, learner_s

# Figures that can be followed by head: a round of 10 steps takes 10 ms, of which encoding is 1.
PARTS = Parts(
    envs=10,
    simulate_s=6e-3,
    act_s=3e-3,
    encode_s=1e-3,
    decode_s=0.5e-3,
    insert_s=0.5e-3,
    call_s=16e-3,
    cluster_cores=0.0,
    collector_cores=0.0,
    sample_s=10e-3,
    update_s=90e-3,
    publish_s=1e-3,
    load_s=0.0,
    round_bytes=1e4,
    weights_bytes=1e6,
    steps_per_update=100.0,
)
FAST_NETWORK = dict(bandwidth_bytes_s=1e15, latency_s=0.0)
HERE = Site(hosts=1, collectors=1, cores=2.0, shared=True)
FAR = Site(hosts=1, collectors=8, cores=8.0, **FAST_NETWORK)

seconds = st.floats(1e-6, 1.0)
parts_drawn = st.builds(
    Parts,
    envs=st.integers(1, 64),
    **dict.fromkeys(
        (
            "simulate_s", "act_s", "encode_s", "decode_s", "insert_s", "call_s", "sample_s", "update_s", "publish_s",
            "load_s",
        ),
        seconds,
    ),
    cluster_cores=st.floats(0.0, 1.0),
    collector_cores=st.just(0.0),
    round_bytes=st.floats(1.0, 1e7),
    weights_bytes=st.floats(1.0, 1e9),
    steps_per_update=st.floats(0.1, 1e4),
)  # fmt: skip
sites_drawn = st.builds(
    Site,
    hosts=st.integers(1, 1000),
    collectors=st.integers(1, 64),
    cores=st.floats(0.5, 128.0),
    bandwidth_bytes_s=st.floats(1e6, 1e11),
    latency_s=st.floats(0.0, 1.0),
    ranks=st.integers(1, 16),
    weak_scaling=st.floats(0.1, 1.0),
    overlapped=st.booleans(),
    shared=st.booleans(),
)


def test_a_collector_alone_does_as_many_steps_as_its_cycle_has():
    # 10 steps in 10 ms, and nobody waits for weights that take no time.
    assert bounds(PARTS, HERE)["collectors"] == pytest.approx(1000.0)
    assert bounds(PARTS, replace(HERE, collectors=7))["collectors"] == pytest.approx(7000.0)
    # Of more collectors than cores of a host, as many work as there are cores.
    assert bounds(PARTS, FAR)["collectors"] == pytest.approx(8000.0)
    assert bounds(PARTS, replace(FAR, collectors=100))["collectors"] == pytest.approx(8000.0)
    assert bounds(PARTS, replace(FAR, hosts=3))["collectors"] == pytest.approx(24000.0)


def test_a_learner_alone_does_as_many_steps_as_its_demand_allows():
    # A step: 0.1 ms to take it, 0.1 ms of sampling and 0.9 ms of the update; a tenth of a ms an update for weights.
    assert dict(learner_s(PARTS, HERE)) == pytest.approx({"replay": 0.2e-3, "learner": 0.9e-3})
    published = 1e-3 * 1 / 100e-3  # once an update, which is less than a tenth of the time
    assert bounds(PARTS, HERE)["learner"] == pytest.approx((1 - published) / 1.1e-3)
    # A GPU hides sampling behind the update.
    hidden = replace(FAR, overlapped=True)
    assert dict(learner_s(PARTS, hidden)) == pytest.approx({"replay": 0.1e-3, "learner": 0.9e-3})
    slow = replace(PARTS, sample_s=150e-3)
    assert dict(learner_s(slow, hidden)) == pytest.approx({"replay": 0.1e-3 + 0.6e-3, "learner": 0.9e-3})


def test_cores_that_all_share_bound_the_sum_of_what_all_do():
    # 1 ms of collecting with 0.1 ms of the cluster's own, and 1.1 ms of the learner.
    assert bounds(PARTS, HERE)["cores"] == pytest.approx(2.0 / 2.2e-3)
    assert bounds(PARTS, replace(HERE, cores=4.0, collectors=9))["cores"] == pytest.approx(4.0 / 2.2e-3)
    # Less what the cluster keeps busy by being there.
    standing = replace(PARTS, cluster_cores=0.2, collector_cores=0.1)
    assert bounds(standing, replace(HERE, collectors=3))["cores"] == pytest.approx(1.5 / 2.2e-3)
    assert bounds(standing, replace(HERE, collectors=100))["cores"] == pytest.approx(0.2 / 2.2e-3)
    assert "cores" not in bounds(PARTS, FAR)
    assert "network" not in bounds(PARTS, HERE)


def test_steps_fill_the_network_and_weights_keep_collectors_waiting():
    site = replace(FAR, bandwidth_bytes_s=1e6)
    assert bounds(PARTS, site)["network"] == pytest.approx(1e6 / 1e3)  # 1 kB a step
    # 160 ms of work an order; 1 MB to each of 64 hosts over 1 MB/s takes 64 s, with every order.
    far = replace(site, hosts=64)
    assert bounds(PARTS, far)["weights"] == pytest.approx(64 * 8 * ROUNDS * 10 / (ROUNDS * 10e-3 + 64.0))
    assert estimate(PARTS, far).weights_age_s == pytest.approx(64.0 + 0.16)


def test_weights_that_are_seldom_new_are_seldom_waited_for():
    # Published once in 10 s (1 s each, a tenth of the time), so that few orders of 160 ms load new ones for 4 ms.
    seldom = replace(PARTS, publish_s=1.0, load_s=4e-3)
    cycle = ROUNDS * 10e-3 + (PUBLISHING_SHARE / 1.0) * (ROUNDS * 10e-3 + 4e-3) * 4e-3
    assert bounds(seldom, HERE)["collectors"] == pytest.approx(ROUNDS * 10 / cycle)


@pytest.mark.parametrize(
    ("change", "site", "wall"),
    [
        ({}, HERE, "learner"),
        ({"update_s": 1e-3, "sample_s": 0.0}, HERE, "collectors"),
        ({"update_s": 1e-3, "sample_s": 0.0}, replace(HERE, collectors=4), "cores"),
        ({"insert_s": 50e-3}, FAR, "replay"),
        ({"update_s": 1e-3, "round_bytes": 1.0}, replace(FAR, bandwidth_bytes_s=1e6), "weights"),
        ({"update_s": 1e-3, "weights_bytes": 1.0}, replace(FAR, bandwidth_bytes_s=1e6), "network"),
    ],
)
def test_the_wall_is_named_and_has_a_knob(change, site, wall):
    told = estimate(replace(PARTS, **change), site)
    assert told.wall == wall
    assert told.steps_per_s == told.walls[wall] == min(told.walls.values())
    assert KNOBS[wall]


def test_the_wall_changes_where_the_bounds_cross():
    """Collectors are the wall up to the number at which they bring what the learner can take, and no longer."""
    easy = replace(PARTS, update_s=1e-9, sample_s=0.0)
    one, learner = (bounds(easy, replace(FAR, collectors=1, cores=64.0))[name] for name in ("collectors", "replay"))
    crossing = learner / one  # 10 steps a ms over 1 step a ms
    assert 8 < crossing < 11
    for count in range(1, 64):
        told = estimate(easy, replace(FAR, collectors=count, cores=64.0))
        assert told.wall == ("collectors" if count < crossing else "replay")
        assert told.steps_per_s == pytest.approx(min(count, crossing) * one)


def test_ranks_multiply_the_learner_and_an_update_has_a_batch_of_each():
    one, two = (estimate(PARTS, replace(FAR, ranks=ranks, weak_scaling=0.97)) for ranks in (1, 2))
    assert two.walls["learner"] == pytest.approx(2 * 0.97 * one.walls["learner"])
    assert two.updates_per_s == pytest.approx(0.97 * one.updates_per_s)
    assert one.updates_per_s == pytest.approx(one.steps_per_s / 100)


@given(parts=parts_drawn, site=sites_drawn, factor=st.floats(1.0, 100.0))
def test_more_of_anything_never_does_less(parts, site, factor):
    before = estimate(parts, site).steps_per_s
    assert before > 0
    for name in ("bandwidth_bytes_s", "cores"):
        better = replace(site, **{name: getattr(site, name) * factor})
        assert estimate(parts, better).steps_per_s >= before * (1 - 1e-9)
    assert estimate(parts, replace(site, ranks=site.ranks * 2, weak_scaling=1.0)).steps_per_s >= before * (1 - 1e-9)
    if site.shared:
        assert estimate(parts, replace(site, collectors=site.collectors + 1)).steps_per_s >= before * (1 - 1e-9)


@given(parts=parts_drawn, site=sites_drawn, factor=st.floats(1.0, 100.0))
def test_a_part_that_takes_longer_never_does_more(parts, site, factor):
    before = estimate(parts, site).steps_per_s
    for name in ("simulate_s", "encode_s", "decode_s", "insert_s", "call_s", "load_s", "round_bytes", "weights_bytes"):
        slower = replace(parts, **{name: getattr(parts, name) * factor})
        assert estimate(slower, site).steps_per_s <= before * (1 + 1e-9), name


@given(parts=parts_drawn, site=sites_drawn)
def test_nobody_does_more_than_its_utilisation_allows(parts, site):
    """At the estimate no station is busy for more than all of the time."""
    assume(not site.shared)
    steps = estimate(parts, site).steps_per_s
    assert steps / site.ranks * sum(learner_s(parts, site).values()) <= 1 + 1e-9
    assert steps * (parts.simulate_s + parts.act_s + parts.encode_s) / parts.envs <= site.hosts * site.cores * (
        1 + 1e-9
    )
    assert steps * parts.round_bytes / parts.envs <= site.bandwidth_bytes_s * (1 + 1e-9)


def test_with_ever_more_hosts_the_learners_side_is_the_wall_and_weights_grow_old():
    site = replace(FAR, bandwidth_bytes_s=1.25e9, latency_s=1e-4, overlapped=True)
    told = [estimate(PARTS, replace(site, hosts=hosts)) for hosts in (1, 8, 64, 1000)]
    assert {one.wall for one in told} == {"learner"}
    assert [one.weights_age_s for one in told] == sorted(one.weights_age_s for one in told)
    # All that hosts bring is old weights: 1 MB to each of 1,000 over 10 Gbit/s, behind an order of 160 ms.
    assert told[-1].weights_age_s == pytest.approx(0.16 + 1e-4 + 1000 * 1e6 / 1.25e9)

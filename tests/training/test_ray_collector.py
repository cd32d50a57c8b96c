"""Collectors on a cluster: they experience what they would beside the learner, and are lost one at a time."""

from __future__ import annotations

import logging
import os
import signal
import socket

import numpy as np
import pytest
import torch
from ray_cluster import PLENTY, beside, elsewhere, in_no_cluster_yet, ray, steps_of, toy  # noqa: F401 - fixtures

from robot_wm.cli import run as command_line
from robot_wm.errors import UserError
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.cluster import connection, ingest, seat
from robot_wm.training.cluster.collector import _ORDERS_AHEAD, _ROUNDS
from robot_wm.training.cluster.orders import Begun, Place
from robot_wm.training.cluster.seat import branch_seed
from robot_wm.training.experience import Experience
from robot_wm.training.loop import Trainer
from robot_wm.training.world import look_at

SHORT = dict(actor="ray", ray_address="local", envs=1, steps=120, prefill_steps=40)


def of_stream(transitions, stream):
    return [transition for transition in transitions if transition.first_stream == stream]


def test_each_experiences_what_it_would_beside_the_learner_and_none_more_than_is_allowed(elsewhere, tiny):  # noqa: F811
    config = tiny(**toy(), envs=2, collectors=2)
    collector, agent = elsewhere(**toy(), envs=2, collectors=2)
    order = 2 * _ROUNDS  # policy steps of one
    permitted = 5 * order + 1
    assert steps_of(collector, lambda found: all(one.ready for one in collector._seats)) == [], "none is allowed yet"
    collector.publish(agent, policy="0", random=True, steps_permitted=permitted)
    told = steps_of(collector, lambda found: sum(step.envs for step in found) >= 5 * order)
    assert collector.poll() == [], "it waits once it is as far ahead as is allowed"
    assert sum(one.steps_under_way for one in collector._seats) == 0
    with torch.no_grad():
        for parameter in agent.acting():
            parameter.add_(0.3)
    collector.publish(agent, policy="8", random=False, steps_permitted=permitted + PLENTY)
    assert max(len(one.asked) for one in collector._seats) <= _ORDERS_AHEAD
    told += steps_of(
        collector, lambda found: all("8" in {step.policy for step in of_stream(found, stream)} for stream in (0, 2))
    )
    rest = collector.drain()
    assert sum(one.steps_under_way for one in collector._seats) == 0
    assert collector.poll() == []
    told += rest
    for index in range(2):
        mine = of_stream(told, 2 * index)
        np.testing.assert_array_equal(mine[0].streams, [2 * index, 2 * index + 1])
        assert {step.policy for step in mine} == {"random", "8"}
        other = beside(config, agent, seed=branch_seed(3, index, 0))
        for number, step in enumerate(mine):
            other.publish(agent, policy="8", random=step.policy == "random", steps_permitted=0)
            (same,) = other.poll()
            for name, array in step.columns().items():
                np.testing.assert_array_equal(array, same.columns()[name], err_msg=f"{name} of step {number}")
            assert {*step.stored} == {*same.stored}
            np.testing.assert_array_equal(step.seed, same.seed)
        assert torch.equal(collector.rng_states()[index], other.rng_states()[0])
        other.close()
    assert not np.array_equal(of_stream(told, 0)[0].seed, of_stream(told, 2)[0].seed)


def test_who_is_killed_is_named_and_replaced_and_its_running_episodes_are_not_stored(elsewhere, tmp_path, caplog):  # noqa: F811
    rows = 19  # of an episode, the reset included: no whole number of orders
    collector, agent = elsewhere(**toy(length=rows - 1), envs=1, collectors=2)
    mine = collector._seats[1]
    collector.publish(agent, policy="0", random=True, steps_permitted=PLENTY)
    told = steps_of(collector, lambda found: all(len(of_stream(found, stream)) > rows for stream in (0, 1)))
    noise, victim = collector.rng_states()[1], mine.place
    with caplog.at_level(logging.WARNING):
        os.kill(victim.process, signal.SIGKILL)
        while mine.generation == 0:
            told += collector.poll()
    lost = of_stream(told, 1)[-1]
    assert not lost.is_last[0]
    begun = len(told)
    told += steps_of(collector, lambda found: len(of_stream(found, 1)) > rows)
    (line,) = [record.getMessage() for record in caplog.records if "collector" in record.getMessage()]
    assert line.startswith(
        f"collector 1 (host {victim.host}, node {victim.node[:12]}, process {victim.process}) is gone"
    )
    assert "its 1 running episodes are lost" in line
    assert mine.place.process != victim.process
    assert of_stream(told[begun:], 0), "the other one goes on"
    first = of_stream(told[begun:], 1)[0]
    assert first.is_first[0]
    assert int(first.seed[0]) not in {int(step.seed[0]) for step in told[:begun]}
    assert not torch.equal(collector.rng_states()[1], noise)
    assert mine.restarts == 0, "an episode has ended since"

    sampler = SequenceSampler(mine.spec, capacity_steps=10_000, length=4, streams=2, stored=agent.stored)
    store = EpisodeStore.create(tmp_path / "store", mine.spec)
    experience = Experience(mine.spec, sampler, store, streams=2, backends=["", ""], figure_names=())
    finished = [episode for step in told for episode in experience.add(step)]
    assert {episode.length for episode in finished} == {rows - 1}
    experience.close()
    ended = sum(int(step.is_last[0]) for step in told)
    whole = [episode for episode in store.episodes() if not episode.source.goes_on]
    assert len(whole) == len(finished) == ended
    assert int(lost.seed[0]) not in {episode.source.seed for episode in store.episodes()}
    places = sampler.at(np.array([1]), np.array([len(of_stream(told[:begun], 1)) - 1]))
    assert places.is_last[0, 0], "what it ran is truncated in memory"


def test_a_task_that_fails_wherever_it_is_tried_ends_the_run_by_its_own_error(elsewhere, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setattr(seat, "_MOST_RESTARTS", 1)
    collector, agent = elsewhere(**toy("Faulty"), envs=1)
    collector.publish(agent, policy="0", random=True, steps_permitted=PLENTY)
    with pytest.raises(
        UserError, match=r"^collector 0 .*failed 2 times in a row.* raised ZeroDivisionError: planted fault"
    ):
        steps_of(collector, lambda found: False)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "another one takes its place" in line
    assert "planted fault" in line
    assert collector._ordered == 0


def test_another_version_or_another_task_is_refused_by_name(tiny):
    config = tiny(**SHORT)
    spec = look_at(config).spec
    one = seat.Seat(3, config, spec, 0, np.zeros(0, np.uint8))
    told = r"^collector 3 \(host lab, node abcdef012345, process 7\): "
    with pytest.raises(UserError, match=told + r"has robot_wm 0\.0\.9, this run 0\.1\.0; all machines need the same$"):
        one.begin(Place("lab", "abcdef0123456789", 7, "0.0.9"))
    one.begun(Begun(spec.content_hash(), spec.to_json()))
    other = spec.model_copy(update={"robot": "another"})
    with pytest.raises(UserError, match=told + r"made for another agent: robot: "):
        one.begun(Begun(other.content_hash(), other.to_json()))


def test_a_run_goes_on_with_the_noise_of_each(ray, tiny):  # noqa: F811
    config = tiny(**SHORT, collectors=2)
    trainer = Trainer(config)
    state = trainer.train()
    assert state.env_steps >= config.steps
    assert state.updates > 0
    counts = trainer.sampler.rings.count
    assert counts.sum() == state.env_steps
    assert (counts > 0).all()
    left = trainer._source.rng_states()
    assert not torch.equal(*left)
    collector = Trainer(config, resume=True)._collector()
    collector.close()
    assert all(map(torch.equal, collector.rng_states(), left))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "ray://127.0.0.1:10001", "127.0.0.1:99999"])
def test_an_address_where_nobody_is_is_told_in_one_line(address):
    with pytest.raises(UserError, match=f"^--ray-address {address}: "):
        connection.require_answer(address)


def test_what_answers_but_is_no_cluster_is_told_within_its_time(monkeypatch):
    monkeypatch.setattr(connection, "_HEALTH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^--ray-address {address}: what answers there is no Ray cluster"):
            connection.require_answer(address)


def test_the_command_line_ends_with_code_2(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ingest, "joined", in_no_cluster_yet)
    told = ["--actor", "ray", "--ray-address", "127.0.0.1:1", "--run-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert command_line(["train", *told, "--size", "nano"]) == 2
    assert "--ray-address 127.0.0.1:1: nobody answers within 5 s" in " ".join(capfd.readouterr().err.split())

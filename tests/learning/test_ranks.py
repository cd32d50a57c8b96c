"""Several ranks learn what one learns from all their batches, and each of them the same; one alone learns as ever."""

import json
import os
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import learn_in_ranks
import pytest
import torch
from launched import torchrun
from learn_in_ranks import CASES
from safetensors.torch import load_file
from sequences import Workshop

from robot_wm.learning import process_group
from robot_wm.learning.ranks import ALONE, RankLostError
from robot_wm.training.agreement import Agreement


@pytest.fixture(scope="module", params=[1, 2, 4])
def learned(request, tmp_path_factory):
    """Number of ranks, and the folder that they left their learners in."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    if request.param == 1:
        learn_in_ranks.main(folder)
    else:
        done = torchrun(request.param, learn_in_ranks.__file__, folder)
        assert done.returncode == 0, done.stderr
    return request.param, folder


def own(state):
    """Without the source of noise, which every rank has its own of."""
    return {name: tensor for name, tensor in state.items() if name != "generator"}


@pytest.mark.parametrize("case", CASES)
def test_ranks_learn_what_one_learns_from_all_their_batches(learned, case):
    size, folder = learned
    found, wanted = own(load_file(folder / f"{case}-0")), own(load_file(folder / f"{case}-whole"))
    assert found.keys() == wanted.keys()
    if size == 1:
        assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    for name, tensor in wanted.items():
        allowed = 1e-6 if name.startswith("agent/") else 1e-4 * max(1.0, float(tensor.abs().max()))
        assert float((found[name] - tensor).abs().max()) <= allowed, name


@pytest.mark.parametrize("case", CASES)
def test_every_rank_has_the_same_agent_and_optimiser_bit_for_bit(learned, case):
    size, folder = learned
    states = [load_file(folder / f"{case}-{rank}") for rank in range(size)]
    for state in states[1:]:
        assert [name for name, tensor in own(states[0]).items() if not torch.equal(tensor, state[name])] == []
        assert not torch.equal(state["generator"], states[0]["generator"]), "the noise of all ranks is the same"


def test_what_is_exchanged_is_the_same_everywhere(learned):
    size, folder = learned
    told = [json.loads((folder / f"exchanged-{rank}").read_text()) for rank in range(size)]
    for one in told:
        assert one["rows"] == [[float(rank), 0.5] for rank in range(size)]
        assert one["texts"] == ["ä" * rank for rank in range(size)]
        assert one["told"] == {"rank": 0}
    assert len({one["seed"] for one in told}) == size
    assert told[0]["seed"] == 7


def test_alone_nothing_is_averaged_gathered_or_copied():
    tensors = [torch.ones(2), torch.zeros(3)]
    assert ALONE.mean(tensors)() is tensors
    assert ALONE.gather(tensors[0]) is tensors[0]
    with ALONE.apart(lambda action: pytest.fail("an exchange was to be kept out of a graph")):
        ALONE.spread(tensors)


@pytest.mark.parametrize("settings", [{}, {"obs": "both", "discrete": True}, {"compute": "bfloat16"}])
def test_gradients_of_a_backward_pass_in_two_parts_are_those_of_one_bit_for_bit(settings):
    """The heads' come first, for several ranks to exchange meanwhile; an update of one alone is to be as it was."""
    learner = Workshop().awake(**settings)
    both = []
    parts = learner._gradients

    def watched(loss, posterior):
        whole = torch.autograd.grad(loss, learner._copy.parameters, retain_graph=True)
        both.append((whole, parts(loss, posterior)))
        return both[0][1]

    learner._gradients = watched
    learner.update(Workshop().batch(learner, first=0.1))
    assert all(torch.equal(one, two) for one, two in zip(*both[0], strict=True))


def test_ranks_stop_together_and_count_together():
    class Two:
        """This rank's rows beside those of another one."""

        size, rank = 2, 0

        def __init__(self, other):
            self.other = other

        def rows(self, row):
            return torch.tensor([row, self.other], dtype=torch.float64).numpy()

    def agreement(other):
        return Agreement(Two(other), update_s=0.25)

    going = agreement([3, 1, 2, 0, True, 0, 0.5])
    going.own.env_steps, going.own.falls = 4, 2
    new = going.settle(can_learn=True)
    assert (new.env_steps, new.episodes, new.robot_steps, new.falls) == (7, 1, 2, 2)
    assert (going.stopped_by, going.can_learn, going.update_s) == ("steps", True, 0.5)
    assert going.settle(can_learn=True).env_steps == 3, "what was counted is counted again"
    assert (going.updates_within(9, 2.0), going.updates_within(3, 2.0)) == (4, 3)

    told = agreement([0, 0, 0, 0, False, 3, 0.0])
    told.end("time limit")
    assert told.stopped_by == "steps", "one rank has ended a run that others go on with"
    told.settle(can_learn=True)
    assert (told.stopped_by, told.can_learn) == ("signal", False)

    own_reason = agreement([0, 0, 0, 0, True, 0, 0.0])
    own_reason.end("bench")
    own_reason.settle(can_learn=True)
    assert own_reason.stopped_by == "bench"
    alone = Agreement(ALONE)
    alone.end("signal")
    assert (alone.stopped_by, alone.updates_within(9, 0.0)) == ("signal", 9)


def test_a_rank_that_is_gone_frees_who_waits_for_it_on_a_gpu(monkeypatch):
    """NCCL waits for ever, and who waits for the GPU hears no signal: a thread looks, and ends the communicator."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    words: dict[str, bytes] = {}
    store = SimpleNamespace(check=lambda keys: keys[0] in words, get=words.__getitem__)
    aborted = []
    backend = SimpleNamespace(abort=lambda: aborted.append(ranks._lost))
    group = SimpleNamespace(_get_backend=lambda device: backend)
    monkeypatch.setattr(process_group.dist.distributed_c10d, "_get_default_group", lambda: group)
    monkeypatch.setattr(process_group, "_LOOK_EVERY_S", 0.01)

    ranks = process_group.ProcessGroup.__new__(process_group.ProcessGroup)
    ranks.rank, ranks.size, ranks._store, ranks._device = 0, 3, store, torch.device("cuda")
    ranks._lost, ranks._closed = None, threading.Event()
    ranks._processes = [[socket.gethostname(), os.getpid()], ["elsewhere", 1], [socket.gethostname(), gone.pid]]
    ranks.check()
    ranks._watch()
    with pytest.raises(RankLostError, match=rf"rank 2 \(process {gone.pid}\) was killed"):
        ranks.check()
    assert aborted == [ranks._lost], "freed before all launches are refused, or never"
    words["last_words/1"] = b"the disk is full"
    assert str(ranks._found_lost()) == "rank 1 failed: the disk is full"

"""The order in which recorded graphs and what is kept out of them are done, with graphs that only take notes."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from robot_wm.learning.captured import CapturedFunction
from robot_wm.learning.ranks import Ranks


@dataclass(frozen=True)
class Batch:
    value: Tensor


@pytest.fixture
def notes(monkeypatch):
    """What was done, in order: kernels are noted under the graph that is recorded, or as launched."""
    made = []

    class Graph:
        def __init__(self):
            self.number, self.recorded = sum(note == "graph" for note in made), []
            made.append("graph")

        def register_generator_state(self, generator):
            made.append(f"{self.number} draws")

        def capture_begin(self, pool, capture_error_mode):
            made.append(f"{self.number} begins in {pool}, {capture_error_mode}")
            self.in_pool = pool or "its own pool"

        def capture_end(self):
            made.append(f"{self.number} ends")

        def pool(self):
            return self.in_pool

        def replay(self):
            made.append(f"{self.number} runs")

        def reset(self):
            made.append(f"{self.number} goes")

    for name in ("synchronize", "empty_cache", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    return made


class Apart(Ranks):
    """Ranks whose only exchange is kept out of graphs."""

    def __init__(self, made):
        self.made, self.cut = made, None

    @contextmanager
    def apart(self, cut):
        self.cut = cut
        yield

    def exchange(self):
        self.cut(lambda: self.made.append("exchanged"))


def test_what_is_kept_out_of_graphs_runs_between_them_and_not_while_they_are_recorded(notes):
    ranks = Apart(notes)

    def function(batch):
        ranks.exchange()
        return batch.value

    captured = CapturedFunction(function, Batch(torch.zeros(2)), torch.Generator(), ranks)
    assert notes == [
        *("graph", "0 draws", "0 begins in None, thread_local", "0 ends"),
        *("graph", "1 draws", "1 begins in its own pool, thread_local", "1 ends"),
    ]
    notes.clear()
    assert captured(Batch(torch.ones(2))).tolist() == [1.0, 1.0]
    assert notes == ["0 runs", "exchanged", "1 runs"]
    notes.clear()
    captured.forget()
    assert notes == ["0 goes", "1 goes"]


def test_without_others_an_update_is_one_graph(notes):
    captured = CapturedFunction(lambda batch: batch.value, Batch(torch.zeros(2)), torch.Generator())
    notes.clear()
    captured(Batch(torch.ones(2)))
    assert notes == ["0 runs"]
    assert captured.takes(Batch(torch.ones(2)))
    assert not captured.takes(Batch(torch.ones(3)))

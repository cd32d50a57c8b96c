"""Which runs have their updates compiled on a CPU, and what is compiled then."""

import threading
from contextlib import suppress

import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.nn.compiled import compiling, fused
from robot_wm.training.compiling import compiles_on_cpu
from robot_wm.training.loop import Trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def compiler(tmp_path):
    """An environment whose CXX is a program."""
    program = tmp_path / "cxx"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return {"CXX": str(program)}


@pytest.fixture
def without(monkeypatch, tmp_path):
    """No compiler anywhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return {}


# 4 x 8 trained steps an update and 8 replayed for each policy step: 500,060 steps, 60 of them random, make 125,000
# updates of 32.
@pytest.mark.parametrize(
    ("changes", "device", "ranks", "expected"),
    [
        ({"steps": 500_060}, CPU, 1, True),
        ({"steps": 500_059}, CPU, 1, False),
        ({"steps": 500_060}, CPU, 2, False),  # half as many updates of each rank
        ({"steps": 1_000_060}, CPU, 2, True),
        ({"steps": 500_060}, GPU, 1, False),  # is compiled in any case
        ({"steps": 500_060, "time_limit_s": 1799.0}, CPU, 1, False),
        ({"steps": 500_060, "time_limit_s": 1800.0}, CPU, 1, True),
        ({"steps": 500_060, "compile_on_cpu": "never"}, CPU, 1, False),
        ({"steps": 100, "compile_on_cpu": "always"}, CPU, 1, True),
        ({"steps": 100, "compile_on_cpu": "always"}, GPU, 1, False),
    ],
)
def test_a_run_is_compiled_where_its_plan_wins_the_time_back(tiny, compiler, changes, device, ranks, expected):
    config = tiny(**{"compile_on_cpu": "auto", **changes})
    assert compiles_on_cpu(config, device, ranks, compiler) is expected


def test_without_a_compiler_only_who_asks_for_it_is_refused(tiny, without):
    assert compiles_on_cpu(tiny(steps=10**7, compile_on_cpu="auto"), CPU, 1, without) is False
    with pytest.raises(UserError, match=r"^--compile-on-cpu always: takes a C\+\+ compiler, such as g\+\+"):
        compiles_on_cpu(tiny(compile_on_cpu="always"), CPU, 1, without)


def test_a_compiler_on_the_path_is_found_by_its_usual_names(tiny, compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = tiny(compile_on_cpu="always")
    for name in ("g++", "clang++"):
        found = (tmp_path / "cxx").rename(tmp_path / name)
        assert compiles_on_cpu(config, CPU, 1, {}) is True
        found.rename(tmp_path / "cxx")


def plus_one(x):
    return x + 1


def test_only_within_it_and_in_its_thread_a_cpu_s_functions_are_compiled():
    assert fused(plus_one, CPU) is plus_one
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(fused(plus_one, CPU)))
    with compiling(True):
        assert fused(plus_one, CPU) is fused(plus_one, GPU)
        assert fused(plus_one, CPU) is not plus_one
        thread.start()
        thread.join()
        with compiling(False):
            assert fused(plus_one, CPU) is plus_one
        assert fused(plus_one, CPU) is not plus_one
    assert fused(plus_one, CPU) is plus_one
    assert elsewhere == [plus_one]


def test_what_fails_within_it_leaves_nothing_behind():
    with suppress(ZeroDivisionError), compiling(True):
        _ = 1 / 0
    assert fused(plus_one, CPU) is plus_one


@pytest.mark.parametrize("how", ["always", "never"])
def test_a_run_s_updates_are_compiled_as_it_is_told(tiny, how, monkeypatch):
    """What an update asks to be fused is compiled; what it computes is not looked at, as compiling takes minutes."""
    trainer = Trainer(tiny(steps=80, compile_on_cpu=how))
    compiled = []
    update = trainer.learner._update

    def look(batch, noise):
        compiled.append(fused(plus_one, CPU) is not plus_one)
        with compiling(False):
            return update(batch, noise)

    monkeypatch.setattr(trainer.learner, "_update", look)
    trainer.train()
    assert compiled == [how == "always"] * 5

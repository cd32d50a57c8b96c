"""A mutation check: small faults planted one at a time, and whether a test notices.

``python tests/mutation.py --sample 40 --seed 0`` plants that many faults, drawn over the files below, in a copy of the
package and its tests, runs those that are named for the file, and prints which faults survived. mutmut and cosmic-ray
run every fault of every file, hours on two cores, and neither lets a mutant of a package be tried by the tests of one
file. Each is tried in a fork of this process, which has imported what the tests need: that is most of the time else.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SLOWER = 5  # than without a fault, and the tests are taken to hang, which is noticed
LEAST_LIMIT_S = 60
# Imported before the forks. Nothing that starts threads, and nothing of this package.
PRELOADED = ("numpy", "torch", "pyarrow", "pydantic", "hypothesis.extra.numpy", "onnx", "gymnasium", "yaml")
_LOOP = ["training/test_seeds.py", "training/test_loop.py"]
_STORE = ["replay/test_store.py", "replay/test_pieces.py", "replay/test_upkeep.py"]
_TREES = ["search/test_tree.py", "search/test_golden.py"]
_SENSED = ["runtime/test_sensors.py", "runtime/test_controller.py"]
# File under robot_wm/ -> the tests that are to notice, under tests/.
FILES = {
    "training/schedule.py": ["training/test_schedule.py"],
    "training/updates.py": ["training/test_updates.py"],
    "training/experience.py": ["training/test_experience.py", "training/test_figures_of_a_run.py"],
    "training/actor.py": ["training/test_acting.py", "training/test_actor.py"],
    "training/checkpoint.py": ["training/test_checkpoint.py"],
    "training/stopping.py": ["training/test_stopping.py"],
    "training/loop.py": _LOOP,
    "training/collector.py": ["training/test_collector.py"],
    "training/run_folder.py": ["training/test_run_folder.py", "training/test_loop.py"],
    "training/env_pool.py": ["training/test_env_pool.py", "training/test_peers.py"],
    "replay/sampler.py": ["replay/test_sampler.py", "replay/test_sampler_step.py"],
    "replay/priorities.py": ["replay/test_priorities.py"],
    "muzero/targets.py": ["muzero/test_targets.py"],
    "muzero/losses.py": ["muzero/test_plain_update.py"],
    "muzero/reanalyse.py": ["muzero/test_plain_update.py"],
    "muzero/learner.py": ["muzero/test_plain_update.py", "muzero/test_learner.py"],
    "replay/rings.py": ["replay/test_sampler.py", "replay/test_sampler_step.py"],
    "replay/episode.py": ["replay/test_store.py"],
    "replay/upkeep.py": ["replay/test_upkeep.py"],
    "replay/store.py": _STORE,
    "replay/reading.py": ["replay/test_store.py", "replay/test_crashes.py"],
    "replay/rows.py": [*_STORE, "replay/test_import_again.py"],
    "replay/runs.py": ["replay/test_runs.py"],
    "replay/place.py": ["replay/test_place.py", "replay/test_import_again.py"],
    "replay/transfer.py": ["replay/test_store.py", "replay/test_import_again.py", "replay/test_crashes.py"],
    "search/array_library.py": _TREES,
    "search/considered.py": ["search/test_considered.py"],
    "search/gumbel.py": _TREES,
    "search/nodes.py": _TREES,
    "search/numpy_arrays.py": _TREES,
    "search/puct.py": _TREES,
    "search/qtransforms.py": _TREES,
    "search/sampled.py": ["search/test_sampled.py"],
    "search/torch_arrays.py": [*_TREES, "search/test_export.py"],
    "search/tree.py": _TREES,
    "runtime/safety.py": ["runtime/test_safety.py"],
    "runtime/following.py": ["runtime/test_following.py"],
    "runtime/jumps.py": ["runtime/test_jumps.py"],
    "runtime/joints.py": ["runtime/test_joints.py", "runtime/test_jumps.py", "runtime/test_following.py"],
    "runtime/limits.py": ["runtime/test_limits.py"],
    "runtime/sensors.py": _SENSED,
    "runtime/transform.py": ["runtime/test_transform.py"],
    "runtime/unwatched.py": ["runtime/test_unwatched.py"],
    "runtime/recording_limits.py": ["runtime/test_recording_limits.py"],
    "runtime/message_queue.py": ["runtime/test_message_queue.py"],
    "search/flat.py": ["search/test_flat.py"],
    "search/halving.py": ["search/test_halving.py"],
    "search/plan.py": ["search/test_flat.py", "search/test_halving.py"],
    "search/ranks.py": ["search/test_ranks.py"],
    "dreamer/latent_model.py": ["dreamer/test_latent_model.py"],
}
_COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_COMPARE |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_ARITHMETIC |= {ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}

_WORDS = {"strict", "description", "dtype"}  # keywords that change little or nothing where all is well


class Fault(NamedTuple):
    """One change of a file."""

    line: int
    what: str
    place: int  # of the changed node, as ``ast.walk`` counts
    change: Callable[[Any], None]

    def planted(self, source: str) -> str:
        """The file's text with the fault in it."""
        tree = ast.parse(source)
        self.change(next(node for place, node in enumerate(ast.walk(tree)) if place == self.place))
        return ast.unparse(ast.fix_missing_locations(tree))


def faults(source: str) -> Iterator[Fault]:
    """Every fault that can be planted in ``source``; annotations and decorators are left alone."""
    tree = ast.parse(source)
    left_alone = {id(node) for part in _no_code(tree) for node in ast.walk(part)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) not in left_alone:
            for line, what, change in (*_of_an_expression(node), *_of_statements(node)):
                yield Fault(line, what, place, change)


def _no_code(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        yield from getattr(node, "decorator_list", ())
        yield from (part for part in (getattr(node, "annotation", None), getattr(node, "returns", None)) if part)
        yield from (word.value for word in getattr(node, "keywords", ()) if word.arg in _WORDS)


Change = tuple[int, str, Callable[[Any], None]]


def _of_an_expression(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        new = _COMPARE[type(node.ops[0])]
        yield node.lineno, f"compare: {_text(node)} with {new.__name__}", lambda it: it.ops.__setitem__(0, new())
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _ARITHMETIC:
        swapped = _ARITHMETIC[type(node.op)]
        yield node.lineno, f"operator: {_text(node)} with {swapped.__name__}", lambda it: setattr(it, "op", swapped())
    elif isinstance(node, ast.BoolOp):
        junction = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield node.lineno, f"junction: {_text(node)} with {junction.__name__}", lambda it: setattr(it, "op", junction())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield node.lineno, f"constant: {node.value} + 1", lambda it: setattr(it, "value", it.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node.lineno, f"constant: not {node.value}", lambda it: setattr(it, "value", not it.value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield (
            node.lineno,
            f"negated: {_text(node.test)}",
            lambda it: setattr(it, "test", ast.UnaryOp(op=ast.Not(), operand=it.test)),
        )
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield node.lineno, f"returned: None, not {_text(node.value)}", lambda it: setattr(it, "value", None)
    elif isinstance(node, ast.Call):
        for index, word in enumerate(node.keywords):
            if word.arg is not None and word.arg not in _WORDS:
                yield node.lineno, f"dropped: {word.arg} of {_text(node)}", partial(_drop, index)


def _of_statements(node: ast.AST) -> Iterator[Change]:
    """A statement that does something and is not there, or comes after the one that builds on it."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if not isinstance(block, list):
            continue
        # What a constructor does not set, or sets too late, is missed at its first use: nothing to learn from.
        first = isinstance(node, ast.FunctionDef) and node.name == "__init__"
        for index, statement in enumerate(block):
            if isinstance(statement, ast.Raise) or (_acts(statement) and not (first and _sets(statement))):
                yield statement.lineno, f"deleted: {_text(statement)}", partial(_delete, field, index)
            following = block[index + 1] if index + 1 < len(block) and not first else None
            if following is not None and _acts(statement) and _acts(following) and _share(statement, following):
                yield statement.lineno, f"later: {_text(statement)}", partial(_swap, field, index)


def _acts(statement: ast.stmt) -> bool:
    return _sets(statement) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call))


def _sets(statement: ast.stmt) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return isinstance(statement, (ast.Assign, ast.AugAssign)) and any(
        isinstance(part, (ast.Attribute, ast.Subscript)) for target in targets for part in ast.walk(target)
    )


def _share(one: ast.stmt, other: ast.stmt) -> bool:
    """Whether one of two statements changes what the other one names, too."""
    return bool(_changed(one) & _named(other) or _changed(other) & _named(one))


def _named(statement: ast.stmt) -> set[str]:
    parts = (part for part in ast.walk(statement) if isinstance(part, (ast.Attribute, ast.Name)))
    return {ast.unparse(part) for part in parts} - {"self", "np", "torch"}


def _changed(statement: ast.stmt) -> set[str]:
    """What is assigned to, given as ``out``, or has a method called."""
    changed = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if isinstance(statement, ast.Expr) and isinstance(call := statement.value, ast.Call):
        changed = [getattr(call.func, "value", None), *(word.value for word in call.keywords if word.arg == "out")]
    parts = (part.value if isinstance(part, ast.Subscript) else part for part in changed)
    return {ast.unparse(part) for part in parts if part is not None}


def _drop(index: int, call: Any) -> None:
    del call.keywords[index]


def _delete(field: str, index: int, node: Any) -> None:
    getattr(node, field)[index] = ast.Pass()


def _swap(field: str, index: int, node: Any) -> None:
    block = getattr(node, field)
    block[index], block[index + 1] = block[index + 1], block[index]


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:100]


def noticed(package: Path, file: str, text: str, tests: list[str], limit_s: float | None) -> bool:
    """Whether one of ``tests`` fails with ``text`` in place of the package's ``file``."""
    path = package / "robot_wm" / file
    before = path.read_text()
    path.write_text(text)
    tried = multiprocessing.get_context("fork").Process(target=_test, args=(package, tests))
    try:
        tried.start()
        tried.join(limit_s)
        if tried.is_alive():
            os.killpg(tried.pid or 0, signal.SIGKILL)
            tried.join()
        return tried.exitcode != 0
    finally:
        path.write_text(before)


def _test(package: Path, tests: list[str]) -> None:
    """In a process of its own: the tests, with the copy before all others that have the package."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(package)
    os.environ["PYTHONPATH"] = str(package)  # for the processes that the tests start
    sys.path.insert(0, str(package))
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "pyproject.toml"]
    code = pytest.main([*arguments, *(f"tests/{test}" for test in tests)])
    os.killpg(0, signal.SIGKILL) if code else os._exit(0)


def main() -> None:
    """Print each fault with its fate, and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=40, help="faults to plant")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--file", action="append", choices=sorted(FILES), help="only these")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        for part in ("robot_wm", "tests"):
            shutil.copytree(ROOT / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", package)
        sources = {name: (package / "robot_wm" / name).read_text() for name in given.file or FILES}
        found = [(name, fault) for name, source in sources.items() for fault in faults(source)]
        drawn = random.Random(given.seed).sample(found, min(given.sample, len(found)))
        limits_s: dict[str, float] = {}  # by file; 0 where its tests fail without a fault
        fate: Counter[bool] = Counter()
        for name, fault in drawn:
            tests = FILES[name]
            if name not in limits_s:
                begin = time.monotonic()
                fail = noticed(package, name, sources[name], tests, None)
                limits_s[name] = 0 if fail else LEAST_LIMIT_S + SLOWER * (time.monotonic() - begin)
            if not limits_s[name]:
                print(f"NOT TRIED {name}:{fault.line}: {' '.join(tests)} fail without a fault", flush=True)
                continue
            seen = noticed(package, name, fault.planted(sources[name]), tests, limits_s[name])
            fate[seen] += 1
            print(f"{'noticed ' if seen else 'SURVIVED'} {name}:{fault.line}: {fault.what}", flush=True)
    print(f"{fate[True]} of {fate.total()} noticed, of {len(found)} possible faults")


if __name__ == "__main__":
    main()

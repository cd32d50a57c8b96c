"""A mutation check: small faults planted one at a time, and whether a test notices.

``python tests/mutation.py --sample 40 --seed 0`` plants that many faults, drawn over the files below, in a copy of the
package, runs the tests that are named for the file, and prints which faults survived. mutmut and cosmic-ray run every
fault of every file, hours on two cores, and neither lets a mutant of a package be tried by the tests of one file.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 300  # a fault that makes a test hang is noticed
# File under robot_wm/ -> the tests that are to notice, under tests/.
FILES = {
    "training/schedule.py": ["training/test_schedule.py"],
    "training/updates.py": ["training/test_updates.py"],
    "training/experience.py": ["training/test_experience.py", "training/test_figures_of_a_run.py"],
    "training/actor.py": ["training/test_actor.py", "training/test_alignment.py"],
    "training/checkpoint.py": ["training/test_checkpoint.py"],
    "training/stopping.py": ["training/test_stopping.py"],
    "replay/sampler.py": ["replay/test_sampler.py", "replay/test_sampler_step.py"],
    "replay/rings.py": ["replay/test_sampler.py", "replay/test_sampler_step.py"],
    "replay/episode.py": ["replay/test_store.py"],
    "replay/upkeep.py": ["replay/test_upkeep.py"],
    "runtime/safety.py": ["runtime/test_safety.py"],
}
_COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_COMPARE |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_ARITHMETIC |= {ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, description and text of every mutant of ``source``; messages and annotations are left alone."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for description, change in _changes(node):
            other = copy.deepcopy(tree)
            target = next(item for index, item in enumerate(ast.walk(other)) if index == number)
            change(target)
            yield node.lineno, description, ast.unparse(ast.fix_missing_locations(other))


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        new = _COMPARE[type(node.ops[0])]
        yield f"compare: {ast.unparse(node)} with {new.__name__}", lambda it: it.ops.__setitem__(0, new())
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _ARITHMETIC:
        if isinstance(node, ast.BinOp) and _in_annotation(node):
            return
        swapped = _ARITHMETIC[type(node.op)]
        yield f"operator: {ast.unparse(node)} with {swapped.__name__}", lambda it: setattr(it, "op", swapped())
    elif isinstance(node, ast.BoolOp):
        junction = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"junction: {ast.unparse(node)} with {junction.__name__}", lambda it: setattr(it, "op", junction())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"constant: {node.value} + 1", lambda it: setattr(it, "value", it.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"constant: not {node.value}", lambda it: setattr(it, "value", not it.value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield (
            f"negated: {ast.unparse(node.test)}",
            lambda it: setattr(it, "test", ast.UnaryOp(op=ast.Not(), operand=it.test)),
        )


def _in_annotation(node: ast.BinOp) -> bool:
    """``int | None`` and the like."""
    return isinstance(node.op, ast.BitOr) and all(
        isinstance(side, (ast.Name, ast.Subscript, ast.BinOp, ast.Attribute))
        or (isinstance(side, ast.Constant) and side.value is None)
        for side in (node.left, node.right)
    )


def noticed(package: Path, file: str, text: str, tests: list[str]) -> bool:
    """Whether one of ``tests`` fails with ``text`` in place of the package's ``file``."""
    path = package / "robot_wm" / file
    before = path.read_text()
    path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    command += ["-c", str(ROOT / "pyproject.toml")]
    command += [str(ROOT / "tests" / test) for test in tests]
    # From the copy's folder, which `-m` puts before all others that have the package.
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(command, cwd=package, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(before)
    return ended.returncode != 0


def main() -> None:
    """Print each fault with its fate, and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=40, help="faults to plant")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--file", action="append", choices=sorted(FILES), help="only these")
    given = parser.parse_args()
    chosen = {name: FILES[name] for name in given.file or FILES}
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder)
        shutil.copytree(ROOT / "robot_wm", package / "robot_wm", ignore=shutil.ignore_patterns("__pycache__"))
        found = [(name, *mutant) for name in chosen for mutant in mutants((package / "robot_wm" / name).read_text())]
        drawn = rng.sample(found, min(given.sample, len(found)))
        killed = 0
        for name, line, what, text in drawn:
            seen = noticed(package, name, text, chosen[name])
            killed += seen
            print(f"{'noticed ' if seen else 'SURVIVED'} {name}:{line}: {what}", flush=True)
    print(f"{killed} of {len(drawn)} noticed, of {len(found)} possible faults")


if __name__ == "__main__":
    main()

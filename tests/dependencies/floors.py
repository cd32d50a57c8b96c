"""Every dependency at the oldest version that pyproject.toml declares: constraints for pip, a line each.

    python tests/dependencies/floors.py                # the light core, as on a robot
    python tests/dependencies/floors.py train sim      # and these extras; their floors win where they are higher

`make floors` installs them into a virtual environment of their own and runs the quick tests there. What constraints.txt
pins stays as it pins it: torch's older wheels bring gigabytes of CUDA with them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def requirements(*extras: str) -> Iterator[Requirement]:
    """What the project asks for with these extras, its own extras spelt out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for name in extras for text in project["optional-dependencies"][name])]
    for requirement in map(Requirement, texts):
        if requirement.name == project["name"]:
            yield from requirements(*sorted(requirement.extras))
        else:
            yield requirement


def extras() -> list[str]:
    """Every extra there is."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def floor(requirement: Requirement) -> Version | None:
    """The oldest version that a requirement takes; None if it takes any."""
    found = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    return max(found, default=None)


def pinned() -> dict[str, Requirement]:
    """What constraints.txt says, by name."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return {one.name: one for one in map(Requirement, lines)}


def constraints(names: Sequence[str]) -> list[str]:
    """A line for every dependency that this machine would install."""
    floors: dict[str, Version] = {}
    for one in requirements(*names):
        if (lowest := floor(one)) and (one.marker is None or one.marker.evaluate()):
            floors[one.name] = max(floors.get(one.name, lowest), lowest)
    held = {name: str(one) for name, one in pinned().items() if str(one.specifier).startswith("==")}
    return [held.get(name, f"{name}=={version}") for name, version in sorted(floors.items())]


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))

"""Which trained agents there are, where they lie, and what is known of them.

::

    ROOT/zoo.pub.pem            the key that has signed every one of them
    ROOT/agents/NAME/
        agent.rwm.zip           the bundle that runs
        learner.safetensors     its weights: with
        state.json              a checkpoint, of which another kind of bundle can be made
        card.json               figures, for programs
        card.md card.png        the same for people, with pictures
        curve.csv               how it learned

Light: a robot reads this, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from robot_wm.errors import UserError

PREFIX = "zoo:"
BUNDLE, CARD, PAGE, PICTURE, CURVE = "agent.rwm.zip", "card.json", "card.md", "card.png", "curve.csv"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(_Frozen):
    """Greedy episodes of the bundle in one physics engine, through the controller that runs on the robot."""

    episodes: int
    seed: int  # episode i had seed + i
    return_mean: float
    return_std: float
    success_rate: float | None  # None where the task knows no success
    length_mean: float  # control steps
    robot_minutes: float
    falls: int | None  # these three are None where the task knows no falls
    falls_per_episode: float | None
    falls_per_robot_minute: float | None
    figures: dict[str, float | None]  # the task's own, means weighted by length; None where one was never defined


class Card(_Frozen):
    """What is told of one agent."""

    schema_version: Literal[1] = 1
    name: str
    task: str
    robot: str
    spec_sha256: str
    control_rate_hz: float
    size: str
    parameters: int
    trained_backend: str
    env_steps: int
    updates: int
    robot_minutes: float  # of learning, all robots together
    training_falls: int | None  # None where the task knows no falls
    training_s: float
    command: str  # the command line that made it
    git_commit: str
    note: str = ""  # what the command line does not tell of how it was made
    evaluations: dict[str, Evaluation]  # by physics engine

    @classmethod
    def load(cls, path: Path) -> Card:
        """Read a card.json; raises UserError naming file, field and value."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot read the card: {error.strerror}") from None
        except ValidationError as error:
            raise UserError.from_validation(error, origin=str(path)) from None


@dataclass(frozen=True)
class Zoo:
    """The agents below ``root``."""

    root: Path

    @classmethod
    def shipped(cls) -> Zoo:
        """The one that comes with the library."""
        return cls(Path(str(files("robot_wm.zoo"))))

    @property
    def public_key(self) -> Path:
        """Ed25519 public key (PEM) that has signed the bundles."""
        return self.root / "zoo.pub.pem"

    def folder(self, name: str) -> Path:
        """Where an agent of that name lies, or would lie."""
        return self.root / "agents" / name

    def names(self) -> tuple[str, ...]:
        """The agents there are."""
        return tuple(sorted(path.parent.name for path in self.root.glob(f"agents/[!.]*/{CARD}")))

    def require(self, name: str) -> Path:
        """The folder of an agent; raises UserError naming those there are."""
        names = self.names()
        if name not in names:
            there = ", ".join(names) if names else "none yet"
            raise UserError(f"{PREFIX}{name}: there is no such agent; there are: {there}")
        return self.folder(name)

    def card(self, name: str) -> Card:
        """What is told of an agent."""
        return Card.load(self.require(name) / CARD)

    def bundle(self, name: str) -> Path:
        """The bundle of an agent; who opens it gives ``public_key``, too."""
        return self.require(name) / BUNDLE

    def size_bytes(self, name: str) -> int:
        """All files of an agent."""
        return sum(path.stat().st_size for path in self.require(name).iterdir())


def locate_weights(source: str) -> Path:
    """Where a trained agent's weights lie that a user named: ``zoo:NAME``, or a path, given back as it is.

    Raises UserError for a name that is not in the zoo.
    """
    return Zoo.shipped().require(source.removeprefix(PREFIX)) if source.startswith(PREFIX) else Path(source)


def locate_bundle(bundle: Path, public_key: Path | None = None) -> tuple[Path, Path | None]:
    """Where a bundle lies that a user named, and the key that must have signed it: what `Bundle.open` takes.

    ``zoo:NAME`` is an agent of the zoo, always checked by the zoo's own key; anything else is a path, given back as it
    is. Raises UserError for a name that is not in the zoo, and for ``zoo:NAME`` with another key.
    """
    if not str(bundle).startswith(PREFIX):
        return bundle, public_key
    if public_key is not None:
        raise UserError(f"{bundle}: is checked by the zoo's own key; leave {public_key} out")
    zoo = Zoo.shipped()
    return zoo.bundle(str(bundle).removeprefix(PREFIX)), zoo.public_key

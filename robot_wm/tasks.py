"""Tasks by name. They register themselves as entry points, so the library knows no simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from robot_wm.errors import UserError
from robot_wm.plugins import entries, load
from robot_wm.yaml_file import parse_yaml

if TYPE_CHECKING:
    import gymnasium
    import numpy as np
    from numpy.typing import NDArray

    from robot_wm.spec import AgentSpec

GROUP = "robot_wm.tasks"
GYM_PREFIX = "gym:"
DEFAULT_BACKEND = "pybullet"  # of whoever names none: written here and nowhere else
OWN_ENGINE = "own"  # of a task over no physics backend


class RewardFrom(Protocol):
    """A task's own reward function on recorded fields, raw and in SI units: L steps of an episode from its reset on.

    A robot's run counts as an episode: where it begins, whatever a task averages over time begins anew, as at a reset.
    """

    def __call__(
        self, obs: Mapping[str, NDArray[Any]], action: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rewards [L], and whether each is known [L]: 0 where it cannot be told.

        ``obs`` is by field [L, *shape], ``action`` [L, A] the SI commands taken after it. ``reward[t]`` arrived with
        ``obs[t]``; that of the reset is 0 and known. The first of steps that begin in the middle of an episode is not.
        """

    def terminal(self, obs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Whether the task ends for good with each observation, [L]."""


def known_tasks() -> dict[str, str]:
    """Every registered task with the first line of its factory's docstring."""
    found = {}
    for own, entry in entries(GROUP).items():
        name = "gym:<module>:<Id>" if own == "gym" else own
        try:
            doc = (load(entry).__doc__ or "").strip()
            found[name] = doc.splitlines()[0] if doc else ""
        except UserError as error:
            found[name] = f"cannot be used: {error}"
    return found


def make_env(
    task: str, *, seed: int = 0, render: bool | Literal["window"] = False, **options: Any
) -> gymnasium.Env[Any, Any]:
    """Build the environment of ``task``, or of ``gym:<module>:<Id>`` for any other Gymnasium environment.

    ``render`` lets it give pictures, or shows it in a window of its own.
    ``options`` go to the task's factory (``observation="image"``, ``backend="mujoco"``, …); of several engines
    (`backend_names`) it is built over the first. Raises UserError for a task that is not registered and for an option
    that the task does not take.
    """
    options = environment_options(task, options, 0)
    mode = "human" if render == "window" else "rgb_array" if render else None
    arguments = dict(options, seed=seed, render_mode=mode)
    if task.startswith(GYM_PREFIX):
        if render == "window":
            raise UserError(f"task {task}: only our own tasks have a window")
        arguments["target"] = task[len(GYM_PREFIX) :]
    factory = load(_entry(task))
    arguments |= _typed(task, factory, options)
    try:
        return factory(**arguments)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise UserError(f"task {task}: {str(error).split('() ')[-1]}") from None
        raise


def agent_spec(env: gymnasium.Env[Any, Any]) -> AgentSpec:
    """The contract that a task's environment carries."""
    return env.unwrapped.agent_spec  # type: ignore[attr-defined]


def reward_function(env: gymnasium.Env[Any, Any]) -> RewardFrom | None:
    """The task's own reward from recorded fields; None where it offers none, or its fields do not suffice."""
    found: RewardFrom | None = getattr(env.unwrapped, "reward_from", None)
    return found


def backend_name(task: str, options: Mapping[str, Any]) -> str:
    """Name of the physics behind a task: an option of robots' tasks; any other environment brings its own.

    Of several environments there may be several: ``pybullet,mujoco``.
    """
    if task.startswith(GYM_PREFIX):
        return "gymnasium"
    if "backend" not in options and task in entries(GROUP) and "backend" not in _hints(load(_entry(task))):
        return OWN_ENGINE
    return str(options.get("backend", DEFAULT_BACKEND))


def backend_names(task: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The engines that several environments of a task take in turn; UserError for one without a name."""
    name = backend_name(task, options)
    names = tuple(part.strip() for part in name.split(","))
    if "" in names:
        raise UserError(f"option backend: {name!r} names no engine, or several with a comma between them")
    return names


def environment_options(task: str, options: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The options of one of several environments: engines alternate from one to the next."""
    if task.startswith(GYM_PREFIX) or "backend" not in options:
        return dict(options)
    names = backend_names(task, options)
    return {**options, "backend": names[index % len(names)]}


def parse_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give options that came as text (from a command line) the types that YAML would: ``2``, ``0.5``, ``true``.

    They may be spelt as flags are, ``time-limit``. Raises UserError for one that is given in both ways.
    """
    found: dict[str, Any] = {}
    for spelt, value in options.items():
        name = spelt.replace("-", "_")
        if name in found:
            raise UserError(f"option {spelt}: is given twice, with - and with _")
        found[name] = parse_yaml(value, origin=f"option {spelt}") if isinstance(value, str) else value
    return found


def _typed(task: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the types that the factory declares, where it does; UserError for one that cannot be."""
    hints, typed = _hints(factory), dict(options)
    for name in hints.keys() & options.keys():
        try:
            typed[name] = _adapter(hints[name]).validate_python(options[name])
        except ValidationError as error:
            raise UserError.from_validation(error, origin=f"task {task}: option {name}") from None
    return typed


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Types of a factory's options; none where they cannot be told."""
    try:
        return get_type_hints(factory)
    except Exception:  # of somebody else's factory: what a hint names need not be there at run time
        return {}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True))
    except PydanticUserError:  # a dataclass and a model bring their own
        return TypeAdapter(hint)


def _entry(task: str) -> EntryPoint:
    name = "gym" if task.startswith(GYM_PREFIX) else task
    found = entries(GROUP)
    if name not in found or (name == "gym" and not task.startswith(GYM_PREFIX)):
        known = ", ".join(sorted(set(found) - {"gym"})) or "none (install robot-wm[sim])"
        raise UserError(f"unknown task {task!r}; known tasks: {known}, gym:<module>:<Id>")
    return found[name]

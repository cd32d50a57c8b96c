"""Who judges the steps of a recording when it is imported: nobody, a function of one's own, or the task's own reward.

Shape letters: L steps of a run, A action.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, require_same
from robot_wm.tasks import GYM_PREFIX, agent_spec, make_env, reward_function

# Observations by field [L, *shape] and commands [L, A] of a run to rewards [L], or to rewards and terminal flags [L];
# or to those and whether each reward is known [L]. reward[t] and terminal[t] arrived with obs[t].
Reward = Callable[[Mapping[str, NDArray[Any]], NDArray[np.float32]], Any]

NONE, TASK = "none", "task"
_FUNCTION = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")
_CHOICE = f"{NONE}, {TASK}, or module:function of an installed module"


@dataclass(frozen=True)
class TaskReward:
    """The reward of the task that a recording names, built with these options."""

    options: Mapping[str, Any] = field(default_factory=dict)

    def of(self, spec: AgentSpec) -> Reward:
        """Its function; UserError where the task is not installed, is another one here, or offers none.

        No ``gym:`` task offers one, and a file is not to choose which module is imported.
        """
        found, origin = None, f"reward {TASK!r}: task {spec.task}"
        if not spec.task.startswith(GYM_PREFIX):
            env = make_env(spec.task, **self.options)
            try:
                require_same(spec, agent_spec(env), origin=f"{origin} (its options: --option.NAME VALUE)")
                found = reward_function(env)
            finally:
                env.close()
        if found is None:
            names = ", ".join(entry.name for entry in spec.observations)
            raise UserError(f"{origin} offers no reward from recorded fields ({names}); give module:function or {NONE}")
        judge = found

        def reward(obs: Mapping[str, NDArray[Any]], action: NDArray[np.float32]) -> Any:
            rewards, known = judge(obs, action)
            return rewards, judge.terminal(obs), known

        return reward


def chosen_reward(name: str, options: Mapping[str, Any]) -> Reward | TaskReward | None:
    """What ``name`` stands for: ``none``, ``task`` (built with ``options``) or ``module:function``; else UserError."""
    if name == TASK:
        return TaskReward(options)
    if options:
        raise UserError(f"options {', '.join(options)}: of the task, for reward {TASK!r} only, not {name!r}")
    if name == NONE:
        return None
    if not _FUNCTION.fullmatch(name):
        raise UserError(f"reward {name!r}: {_CHOICE}")
    try:
        function = EntryPoint(name="reward", group="", value=name).load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"reward {name!r}: {_CHOICE}: {error}") from None
    if not callable(function):
        raise UserError(f"reward {name!r}: not a function")
    return function  # type: ignore[no-any-return]


class Judged(NamedTuple):
    """What is said of the L steps of a run."""

    reward: NDArray[np.float32]  # [L], 0 where it is not known
    terminal: NDArray[np.bool_]  # [L]
    known: NDArray[np.bool_]  # [L]


def judged(reward: Reward | None, obs: Mapping[str, NDArray[Any]], action: NDArray[np.float32]) -> Judged:
    """What ``reward`` says of a run, and zeros of None; UserError for what a reward function must not return."""
    length = len(action)
    told = np.zeros(length) if reward is None else reward(obs, action)
    parts = told if isinstance(told, tuple) and len(told) in (2, 3) else (told,)
    rewards = np.asarray(parts[0])
    if rewards.shape != (length,) or rewards.dtype.kind not in "biuf":
        raise UserError(f"the reward function returned {rewards.dtype} {rewards.shape}, not {length} numbers")
    flags = [np.zeros(length, np.bool_), np.ones(length, np.bool_)]
    for at, (name, part) in enumerate(zip(("terminal", "known"), parts[1:], strict=False)):
        flag = flags[at] = np.asarray(part)
        if flag.shape != (length,) or flag.dtype != np.bool_:
            raise UserError(f"the reward function returned {flag.dtype} {flag.shape} for {name}, not {length} bool")
    terminal, known = flags
    return Judged(np.where(known, rewards, 0).astype(np.float32), terminal, known)

"""``robot-wm bench rescue_world_model``: how little of a changed robot's time a trained world model needs to go on."""

from __future__ import annotations

import copy
import csv
import json as json_
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from robot_wm.atomic import atomic_file
from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive
from robot_wm_bench.rescue.changed_robot import TARGET, ChangedRobot, target_options

if TYPE_CHECKING:
    from robot_wm.learning.agent import Agent
    from robot_wm.training.checkpoint import LoadedAgent
    from robot_wm.training.loop import Trainer

_ENOUGH = 0.9  # of the source's return at home


def bench_rescue_world_model(
    *,
    out: Path,
    seeds: str = "0",
    source: str = "zoo:a1_velocity",
    target: Path = TARGET,
    rewards: Literal["told", "unknown"] = "told",
    rounds: Annotated[int, Positive] = 6,
    round_s: Annotated[float, Positive] = 10.0,
    updates: Annotated[int, Positive] = 1000,
    rehearse: Annotated[int, NotNegative] = 20_000,
    rehearse_share: Annotated[float, Positive] = 0.5,
    agent: dict[str, str] | None = None,
    episodes: Annotated[int, Positive] = 16,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: Annotated[int, NotNegative] = 1,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Act on a changed robot, adapt in imagination, act again: return and falls over the robot's time.

    Each round the agent acts greedily for ``--round-s`` on the robot of ``--target``, in MuJoCo, which is what it
    costs; then it has ``--updates`` updates as `robot-wm adapt` makes them, with the robot standing. Its return is
    measured in episodes of their own, which nobody learns from. Each seed's folder gets rounds.csv and result.json;
    one that has a result is not done again.

    Parameters
    ----------
    out
        Folder of the measurement.
    seeds
        Separated by commas; one after the other.
    source
        Trained agent: a run's folder, a checkpoint's, or zoo:NAME.
    target
        Randomisation file of the changed robot.
    rewards
        told: a laboratory tells rewards and falls; unknown: nobody does, and the model guesses.
    rounds
        Rounds of acting and adapting.
    round_s
        The robot's time in each, s.
    updates
        Updates after each.
    rehearse
        Control steps of the source in its own simulator to learn beside.
    rehearse_share
        Of every batch, of what was rehearsed.
    agent
        Settings of the agent that differ from the source's, such as --agent.pessimism 0.5.
    episodes
        Episodes of each evaluation.
    device
        Where to learn; auto takes CUDA if there is any.
    threads
        CPU threads of the learner; 0 leaves it to torch.
    json
        Print the results as one JSON object.
    """
    from robot_wm.tasks import parse_options
    from robot_wm.training.initial import load_source

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds {seeds}: not whole numbers with commas between them") from None
    loaded = load_source(source)
    plan = {
        "source": source,
        "target": str(target),
        "rewards": rewards,
        "rounds": rounds,
        "round_s": round_s,
        "updates": updates,
        "rehearse": rehearse,
        "rehearse_share": rehearse_share,
        "agent": parse_options(agent or {}),
        "episodes": episodes,
    }
    results = []
    for seed in numbers:
        path = out / f"seed{seed}" / "result.json"
        if not path.exists():
            rescue = _Rescue(loaded, plan | {"seed": seed}, path.parent, target, device, threads)
            with atomic_file(path) as temporary:
                temporary.write_text(json_.dumps(rescue.run(), indent=1))
        results.append(json_.loads(path.read_text()))
        if results[-1]["plan"] != plan | {"seed": seed}:
            raise UserError(f"{path}: a run with other settings; name another --out")
    rows = [{name: value for name, value in result.items() if name not in ("plan", "rounds")} for result in results]
    emit({"out": str(out), "rows": rows}, as_json=json, title="rescue")


class _Rescue:
    """One seed."""

    def __init__(
        self,
        source: LoadedAgent,
        plan: dict[str, Any],
        folder: Path,
        target: Path,
        device: Literal["auto", "cpu", "cuda"],
        threads: int,
    ) -> None:
        self._source, self._plan, self._folder = source, plan, folder
        self._task, self._options = source.state.config.task, target_options(target)
        self._device, self._threads = device, threads
        self._rows: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._robot = ChangedRobot(
            folder / "robot",
            source.spec,
            self._task,
            self._options,
            told=plan["rewards"] == "told",
            seed=plan["seed"],
        )
        self._began_s = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Everything; returns what result.json holds."""
        from robot_wm.training.adapting import adaptation
        from robot_wm.training.loop import Trainer
        from robot_wm.training.rehearsal import rehearse

        plan = self._plan
        home = self._return(self._source.agent, dict(self._source.state.config.task_options))
        self._measure(self._source.agent)
        self._robot.act(self._source.agent, plan["round_s"])
        replay = [str(self._robot.store.path)]
        if plan["rehearse"]:
            old = self._folder / "rehearsed"
            rehearse(self._source, old, steps=plan["rehearse"], seed=plan["seed"])
            replay.append(f"{old}={plan['rehearse_share']}")
        config = adaptation(
            plan["source"],
            replay,
            run_dir=self._folder / "run",
            updates=plan["rounds"] * plan["updates"],
            log_every_updates=plan["updates"],
            seed=plan["seed"],
            device=self._device,
            threads=self._threads,
            changes=plan["agent"],
        )
        trainer = Trainer(config)
        trainer.train(self._after_updates)
        if trainer.stopped_by == "signal":
            raise KeyboardInterrupt
        enough = [row for row in self._rows if row["return_mean"] >= _ENOUGH * home["return_mean"]]
        return {
            "seed": plan["seed"],
            "home_return": home["return_mean"],
            "first_return": self._rows[0]["return_mean"],
            "last_return": self._rows[-1]["return_mean"],
            "last_share": self._rows[-1]["return_mean"] / home["return_mean"],
            "robot_s": self._robot.seconds,
            "falls": self._robot.falls,
            "robot_s_to_enough": enough[0]["robot_s"] if enough else None,
            "falls_to_enough": enough[0]["falls"] if enough else None,
            "wall_s": time.monotonic() - self._began_s,
            "rounds": self._rows,
            "plan": plan,
        }

    def _after_updates(self, trainer: Trainer) -> None:
        """Called between slices of updates, one of which ends exactly where a round does."""
        done, rest = divmod(trainer.state.updates, self._plan["updates"])
        if rest or done < len(self._rows):
            return
        agent = copy.deepcopy(trainer.agent).cpu().eval()
        self._measure(agent)
        if done < self._plan["rounds"]:
            self._robot.act(agent, self._plan["round_s"])
            trainer.sources.look()

    def _measure(self, agent: Agent) -> None:
        found = self._return(agent, self._options)
        row = {
            "updates": len(self._rows) * self._plan["updates"],
            "robot_s": self._robot.seconds,
            "falls": self._robot.falls,
            "return_mean": found["return_mean"],
            "return_std": found["return_std"],
            "falls_of_evaluation": found["falls"],
            "length_mean": found["length_mean"],
            "wall_s": round(time.monotonic() - self._began_s, 1),
        }
        self._rows.append(row)
        messages().print(" ".join(f"{name} {value:.4g}" for name, value in row.items() if value is not None))
        with atomic_file(self._folder / "rounds.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self._rows)

    def _return(self, agent: Agent, options: dict[str, Any]) -> dict[str, Any]:
        from robot_wm.training.batched_evaluation import evaluate

        return evaluate(agent, self._task, options, episodes=self._plan["episodes"])

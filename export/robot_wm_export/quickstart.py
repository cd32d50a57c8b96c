"""`robot-wm quickstart`: the whole way on one task, in minutes: learn, export, check, run, report."""

from __future__ import annotations

import json as json_module
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from robot_wm.atomic import atomic_file
from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive, Seed
from robot_wm.yaml_file import read_mapping
from robot_wm.zoo.catalog import PREFIX, Zoo
from robot_wm_export.quickstart_walk import AGENT, figures_text, walk, walk_picture

if TYPE_CHECKING:
    from robot_wm.dreamer.prediction import OpenLoop
    from robot_wm.evaluation.closed_loop import ClosedLoopResult
    from robot_wm.page import Picture
    from robot_wm.training.loop import Trainer

PRESET = "quickstart"
EVALUATION_EPISODES = 10
REALTIME_EPISODES = 1
PERFECT_RETURN = 500.0
_PREDICTED_STEPS = 80


def quickstart(
    *,
    run_dir: Path = Path("runs/quickstart"),
    seed: Seed = 0,
    time_limit_s: Annotated[float | None, Positive] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Learn to balance a pole, export the agent, run it in real time through the robot's controller, and report.

    A quadruped that was trained before walks at the end, through the same controller.

    Parameters
    ----------
    run_dir
        Folder of the run: train/, agent.rwm/, report.html and report.json.
    seed
        Seeds networks, environments and noise.
    time_limit_s
        Longest time to learn, s; by default the preset's (about seven minutes).
    force
        Replace an earlier quickstart in that folder.
    json
        Print the report as one JSON object.
    """
    from robot_wm.training.config import TrainConfig, preset_path

    settings: dict[str, Any] = read_mapping(preset_path(PRESET))
    settings |= {"run_dir": run_dir / "train", "seed": seed}
    if time_limit_s is not None:
        settings["time_limit_s"] = time_limit_s
    config = TrainConfig(**settings)
    _clear(run_dir, force)

    from robot_wm.evaluation.seeds import UNSEEN_SEED
    from robot_wm.training.command import RoundReport
    from robot_wm.training.loop import Trainer

    started = time.monotonic()
    console = messages()
    console.print(f"1/5  learning {config.task} (size {config.settings.size}) in {config.folder}")
    trainer = Trainer(config)
    with progress(console) as bar:
        trainer.train(RoundReport(bar, "learn"))
    if trainer.stopped_by == "signal":
        again = shlex.join(["robot-wm", "quickstart", "--force", "--run-dir", str(run_dir)])
        console.print(f"stopped and saved in {trainer.run}; start again with: {again}")
        raise KeyboardInterrupt
    if not trainer.state.updates:
        raise UserError(
            f"{trainer.run}: {trainer.running_s:.0f} s were too short to learn anything"
            f" ({trainer.state.env_steps} steps and no update); give more by --time-limit-s, with --force"
        )
    console.print("2/5  exporting and checking parity")
    exported = _export(trainer, run_dir / "agent.rwm")
    console.print(f"3/5  evaluating {EVALUATION_EPISODES} episodes, then {REALTIME_EPISODES} in real time")
    evaluated, live = _run(run_dir / "agent.rwm")
    zoo = Zoo.shipped()
    console.print(f"4/5  an episode of {PREFIX}{AGENT}, which was trained before")
    walked = walk(zoo, seed=UNSEEN_SEED + seed)
    if "left_out" in walked:
        console.print(f"left out: {walked['left_out']}")
    console.print("5/5  writing the report")
    pictures = [*_pictures(trainer, live), *_latents(trainer), walk_picture(zoo, walked)]
    report = {
        "task": config.task,
        "seed": seed,
        "return_mean": evaluated["return_mean"],
        "return_std": evaluated["return_std"],
        "returns": evaluated["returns"],
        "episodes": evaluated["episodes"],
        "env_steps": trainer.state.env_steps,
        "updates": trainer.state.updates,
        "training_s": round(trainer.state.wall_s, 1),
        "stopped_by": trainer.stopped_by,
        "parity": exported,
        "realtime": live.as_dict(),
        "bundle": str(run_dir / "agent.rwm"),
        "walk": walked,
        "total_s": round(time.monotonic() - started, 1),
    }
    write(run_dir, report, pictures)
    emit(_summary(report, run_dir) if not json else report, as_json=json, title="quickstart")


def _clear(run_dir: Path, force: bool) -> None:
    """Make room for a new run; only what a quickstart writes is ever removed."""
    from robot_wm.training.one_writer import only_writer

    mine = [run_dir / name for name in ("train", "agent.rwm", "report.html", "report.json")]
    there = [path for path in mine if path.exists()]
    if there and not force:
        raise UserError(
            f"{run_dir}: holds a quickstart already; add --force to replace it, or choose another --run-dir"
        )
    if not there:
        return
    with only_writer(mine[0]):  # who still trains there must not have it removed underneath
        for path in there:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _export(trainer: Trainer, out: Path) -> dict[str, Any]:
    """Write the best agent's bundle; returns the parity figures."""
    from robot_wm.tasks import make_env
    from robot_wm.training.checkpoint import load_agent
    from robot_wm_export.export import export_agent, summary
    from robot_wm_export.rollout import record_rollout

    loaded = load_agent(trainer.run)
    env = make_env(trainer.config.task, seed=trainer.config.seed, render=False, **trainer.config.task_options)
    try:
        rollout = record_rollout(loaded.agent, env, 512, trainer.config.seed)
    finally:
        env.close()
    with messages().status("exporting") as status:
        report = export_agent(loaded.agent, loaded.spec, rollout, loaded.lineage, out, on_stage=status.update)
    figures = summary(report)
    return {key: figures[key] for key in ("parity_ticks", "rows")}


def _run(bundle: Path) -> tuple[dict[str, Any], ClosedLoopResult]:
    """Evaluate the bundle through the controller, then run it against the clock."""
    from robot_wm.evaluation.closed_loop import run_closed_loop
    from robot_wm.evaluation.driven import driven
    from robot_wm.evaluation.eval_command import evaluate_bundle
    from robot_wm.evaluation.seeds import UNSEEN_SEED
    from robot_wm.runtime.safety import SafetyConfig

    with progress() as bar:
        row = bar.add_task("evaluate", total=EVALUATION_EPISODES, note="")
        evaluated = evaluate_bundle(
            bundle,
            option={},
            episodes=EVALUATION_EPISODES,
            seed=UNSEEN_SEED,
            done=lambda count: bar.update(row, completed=count),
        )
        live_row = bar.add_task("real time", total=REALTIME_EPISODES, note="")
        with driven(bundle, config=SafetyConfig(soft_start_s=0.0), seed=UNSEEN_SEED) as it:
            live = run_closed_loop(
                it.controller,
                it.env,
                episodes=REALTIME_EPISODES,
                realtime=True,
                seed=UNSEEN_SEED,
                on_episode=lambda episode: bar.update(live_row, advance=1, note=f"return {episode.episode_return:.1f}"),
            )
    return evaluated, live


def _pictures(trainer: Trainer, live: ClosedLoopResult) -> list[Picture]:
    from robot_wm.dreamer.pictures import prediction_figure
    from robot_wm.page import picture
    from robot_wm.training import scalars
    from robot_wm_export.report import latency_histogram, learning_curve

    return [
        picture(
            "Learning curve",
            "Return of training episodes (with exploration noise) and of greedy evaluations. The best evaluated "
            "agent is the one that was exported.",
            learning_curve(scalars.read(trainer.run), best_possible=PERFECT_RETURN),
        ),
        picture(
            "Imagined and real",
            "One recorded sequence (solid) and the world model's prediction of it (dashed), in the units that the "
            "model sees. Left of the grey line it sees the observations, right of it only the actions. A balanced pole "
            "is unstable, so every small error of the prediction grows.",
            prediction_figure(_prediction(trainer), trainer.spec),
        ),
        picture(
            "Controller latency in real time",
            "Time from observation to command in the torch-free controller that also runs on the robot, one thread.",
            latency_histogram(live.latency_us, 1e6 / live.control_rate_hz),
        ),
    ]


def _latents(trainer: Trainer) -> list[Picture]:
    """The map of what the exported agent believed along episodes; none without scikit-learn."""
    from robot_wm.inspect.store_map import store_map
    from robot_wm.page import picture
    from robot_wm.training.checkpoint import load_agent

    figure = store_map(load_agent(trainer.run).agent, trainer.spec, trainer.store)
    if figure is None:
        return []
    told = "Each point is what the agent believed at one recorded step, its 2 main components of many (PCA)."
    return [picture("What it believes", told, figure)]


def _prediction(trainer: Trainer) -> OpenLoop:
    """Open loop through the newest episode that has ended, which noisy actions make more telling than a quiet one."""
    from robot_wm.dreamer.learner import DreamerLearner
    from robot_wm.learning.batch import TensorBatch
    from robot_wm.replay.sampler import SequenceSampler

    episode = [episode for episode in trainer.store.episodes() if not episode.source.goes_on][-1]
    length = min(_PREDICTED_STEPS, episode.length - 1)
    sampler = SequenceSampler(
        trainer.spec,
        capacity_steps=episode.length,
        length=length,
        stored=trainer.agent.stored,
    )
    sampler.add_episode(episode)  # its first window is fresh, so it is the one that is drawn
    learner = trainer.learner
    assert isinstance(learner, DreamerLearner)
    return learner.open_loop(TensorBatch.from_numpy(sampler.sample(1), trainer.device), context=length // 8)


def write(run_dir: Path, report: dict[str, Any], pictures: list[Picture]) -> None:
    """Write report.json and report.html."""
    from robot_wm.page import write_page

    with atomic_file(run_dir / "report.json") as temporary:
        temporary.write_text(json_module.dumps(report, indent=2))
    summary = _summary(report, run_dir)
    write_page(
        run_dir / "report.html",
        title=f"{report['task']}: learned, exported, run",
        subtitle="DreamerV3 learned it in simulation; ONNX Runtime and the robot's controller ran it.",
        headline=[
            (f"mean return of {report['episodes']} episodes", f"{report['return_mean']:.0f} / {PERFECT_RETURN:.0f}"),
            ("learning", f"{report['training_s'] / 60:.1f} min"),
            ("controller tick, median", f"{report['realtime']['p50_us']:.0f} µs"),
            ("late commands", str(report["realtime"]["deadline_misses"])),
        ],
        pictures=pictures,
        rows=summary,
    )


def _summary(report: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The report in a table's width."""
    live, walked = report["realtime"], report["walk"]
    return {
        "mean return": f"{report['return_mean']:.1f} ± {report['return_std']:.1f} of {PERFECT_RETURN:.0f} "
        f"({report['episodes']} episodes)",
        "learned in": f"{report['training_s']:.0f} s, {report['env_steps']} steps, {report['updates']} updates",
        "parity": f"largest error {max(row['largest_error'] for row in report['parity']['rows']):.1e} "
        f"over {report['parity']['parity_ticks']} ticks",
        "real-time return": f"{live['return_mean']:.1f}",
        "controller tick": f"p50 {live['p50_us']:.0f} µs, p99 {live['p99_us']:.0f} µs, "
        f"max {live['max_us']:.0f} µs; {live['deadline_misses']} deadline misses in {live['ticks']} ticks",
        "bundle": report["bundle"],
        walked["agent"]: _walk_summary(walked),
        "report": str(run_dir / "report.html"),
        "total": f"{report['total_s']:.0f} s",
    }


def _walk_summary(walked: dict[str, Any]) -> str:
    if "left_out" in walked:
        return f"left out: {walked['left_out']}"
    return f"{walked['seconds']:.0f} s in {walked['took_s']:.1f} s: {figures_text(walked)}"

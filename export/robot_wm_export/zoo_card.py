"""An agent's card: what it is, how it was made, how it does in each engine, and what that looks like."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.eval_command import evaluate_bundle
from robot_wm.evaluation.seeds import UNSEEN_SEED
from robot_wm.figures import robot_minutes
from robot_wm.model_card import environment
from robot_wm.tasks import GYM_PREFIX, backend_name, known_tasks
from robot_wm.training.checkpoint import LoadedAgent
from robot_wm.zoo.catalog import BUNDLE, CARD, CURVE, PAGE, PICTURE, Card, Evaluation
from robot_wm_export.report import draw_learning_curve
from robot_wm_export.zoo_curve import read_curve
from robot_wm_export.zoo_origin import command_line
from robot_wm_export.zoo_stills import stills

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STILLS = 5
_COLOURS = 128  # of the picture: it is half the size then, and no eye sees it


def evaluate_entry(
    folder: Path, task: str, backends: Sequence[str], *, episodes: int, done: Callable[[int], None]
) -> dict[str, Evaluation]:
    """Greedy episodes of the bundle in ``folder`` in each physics engine; a Gymnasium task has its own alone.

    ``done`` hears how many episodes have been run in all.
    """
    evaluations: dict[str, Evaluation] = {}
    for backend in (None,) if task.startswith(GYM_PREFIX) else backends:
        before = episodes * len(evaluations)
        result = evaluate_bundle(
            folder / BUNDLE,
            option={},
            backend=backend,
            episodes=episodes,
            seed=UNSEEN_SEED,
            done=lambda count, before=before: done(before + count),  # type: ignore[misc]
        )
        kept = {name: result[name] for name in Evaluation.model_fields if name in result}
        evaluations[result["backend"]] = Evaluation(seed=UNSEEN_SEED, **kept)
    return evaluations


def write_card(
    folder: Path, name: str, loaded: LoadedAgent, evaluations: dict[str, Evaluation], *, note: str = ""
) -> Card:
    """Write card.json, card.md and card.png for the checkpoint, bundle and curve in ``folder``."""
    state, config, spec = loaded.state, loaded.state.config, loaded.spec
    card = Card(
        name=name,
        task=config.task,
        robot=spec.robot,
        spec_sha256=spec.content_hash(),
        control_rate_hz=spec.control_rate_hz,
        size=config.settings.size,
        parameters=loaded.agent.parameter_count(),
        trained_backend=backend_name(config.task, config.task_options),
        env_steps=state.env_steps,
        updates=state.updates,
        robot_minutes=round(robot_minutes(state.robot_steps, spec.control_rate_hz), 2),
        training_falls=state.falls if _knows_falls(evaluations) else None,
        training_s=round(state.wall_s, 1),
        command=command_line(config),
        git_commit=state.git_commit,
        note=note,
        evaluations=evaluations,
    )
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n")
    (folder / PAGE).write_text(page(card))
    length_s = max(result.length_mean for result in evaluations.values()) / spec.control_rate_hz
    pictures = stills(folder / BUNDLE, seed=UNSEEN_SEED, every_s=length_s / (2 * _STILLS))
    (folder / PICTURE).write_bytes(_small_png(_figure(name, pictures, folder / CURVE)))
    return card


def _knows_falls(evaluations: Mapping[str, Evaluation]) -> bool:
    return any(result.falls is not None for result in evaluations.values())


def page(card: Card) -> str:
    """The text of card.md."""
    template = environment("robot_wm_export").get_template("zoo_card.md.j2")
    return template.render(card=card, description=known_tasks().get(card.task, ""))


def _figure(name: str, pictures: Sequence[NDArray[np.uint8]], curve: Path) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    chosen = np.linspace(0, len(pictures) - 1, min(_STILLS, len(pictures))).round().astype(int)
    grid = figure.add_gridspec(2, len(chosen), height_ratios=(1, 1.6))
    for column, index in enumerate(chosen):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(pictures[index])
        axes.axis("off")
    axes = figure.add_subplot(grid[1, :])
    draw_learning_curve(axes, read_curve(curve), best_possible=None)
    axes.set_title(f"{name}: one greedy episode, and how it learned")
    return figure


def _small_png(figure: Figure) -> bytes:
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()

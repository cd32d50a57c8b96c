"""`robot-wm zoo list` and `robot-wm zoo card`: which trained agents there are, and what each can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit
from robot_wm.zoo.catalog import PAGE, Card, Evaluation, Zoo

Json = Annotated[bool, Parameter(name="--json", negative="")]
ZooFolder = Annotated[Path | None, Parameter(name="--zoo", help="folder of another zoo than the one that is shipped")]


def open_zoo(folder: Path | None) -> Zoo:
    """The zoo in ``folder``, by default the one that comes with the library."""
    return Zoo.shipped() if folder is None else Zoo(folder)


def list_agents(*, zoo: ZooFolder = None, json: Json = False) -> None:
    """List the trained agents that come with the library; `robot-wm run zoo:NAME` runs one.

    Parameters
    ----------
    json
        Print one JSON object, with everything that the cards tell.
    """
    opened = open_zoo(zoo)
    cards = [opened.card(name) for name in opened.names()]
    if json:
        rows = [card.model_dump(mode="json") | {"megabytes": opened.size_bytes(card.name) / 1e6} for card in cards]
        emit({"zoo": str(opened.root), "rows": rows}, as_json=True)
        return
    made_by = {f"zoo:{card.name}": f"{card.command} (in {card.trained_backend})" for card in cards}
    emit({"zoo": str(opened.root), "made by": made_by, "rows": table(cards, opened)}, as_json=False, title="zoo")


def table(cards: Sequence[Card], zoo: Zoo) -> list[dict[str, Any]]:
    """A row for each card, narrow enough for a terminal: a line for each engine that the agent was evaluated in."""

    def each(card: Card, text: Callable[[Evaluation], str]) -> str:
        return "\n".join(map(text, card.evaluations.values()))

    return [
        {
            "agent": f"zoo:{card.name}",
            "size": card.size,
            "engine": "\n".join(card.evaluations),
            "return": each(card, return_text),
            "falls": each(card, falls_text),
            "MB": f"{zoo.size_bytes(card.name) / 1e6:.1f}",
        }
        for card in cards
    ]


def show_card(name: str, /, *, zoo: ZooFolder = None, json: Json = False) -> None:
    """Print an agent's card, and where it lies with its pictures.

    Parameters
    ----------
    name
        Name of the agent, such as a1_velocity; see `robot-wm zoo list`.
    json
        Print the card's figures as one JSON object.
    """
    opened = open_zoo(zoo)
    folder = opened.require(name.removeprefix("zoo:"))
    if json:
        emit(opened.card(folder.name).model_dump(mode="json") | {"folder": str(folder)}, as_json=True)
    else:
        print((folder / PAGE).read_text() + f"\nIn {folder}")


def return_text(result: Evaluation) -> str:
    """Mean and spread of the returns."""
    return f"{result.return_mean:.1f} ± {result.return_std:.1f}"


def falls_text(result: Evaluation) -> str:
    """Falls of all episodes; a dash where the task knows none."""
    return "–" if result.falls is None else f"{result.falls} of {result.episodes}"

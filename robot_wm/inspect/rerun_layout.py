"""How the Rerun viewer lays a recording out at first: the robot and its cameras to the left, curves to the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_SHARES = (2.0, 3.0)  # of the window's width
_SHORT = ("reward", "value", "surprise")  # plots that are always there


def layout(numbers: Iterable[str], pictures: Iterable[str], *, robot: Iterable[str]) -> Any:
    """A blueprint for the paths of numbers and pictures, and for the entities of a robot; all as `Piece` names them.

    What belongs together ("observation/joint_position.FL_hip_joint/recorded" and "…/open_loop") is one plot, plots of a
    field are one tab.
    """
    import rerun as rr
    from rerun import blueprint as rrb

    def place(path: str) -> str:
        """As Rerun spells it: labels such as cos(hinge) have to be escaped."""
        return rr.new_entity_path(path.split("/"))

    seen: list[Any] = []
    if there := [f"/{entity}/**" for entity in robot]:
        seen.append(rrb.Spatial3DView(origin="/", contents=there, name="robot, and as imagined"))
    cameras = [rrb.Spatial2DView(origin=place(path), name=path.removeprefix("camera/")) for path in pictures]
    if cameras:
        seen.append(rrb.Grid(*cameras))
    tabs: dict[str, dict[str, Any]] = {}
    short: dict[str, Any] = {}
    for path in numbers:
        group = path.rpartition("/")[0] or path
        top, _, name = group.partition("/")
        if top in _SHORT:
            short[top] = rrb.TimeSeriesView(origin=f"/{top}", name=top)
            continue
        tab = f"{top} {name.split('.')[0]}".strip() if top == "observation" else top
        tabs.setdefault(tab, {})[group] = rrb.TimeSeriesView(origin=place(group), name=name or top)
    curves = [
        rrb.Grid(*plots.values(), name=tab) if len(plots) > 1 else next(iter(plots.values()))
        for tab, plots in tabs.items()
    ]
    right = rrb.Vertical(
        *short.values(),
        *([rrb.Tabs(*curves)] if curves else []),
        rrb.Tabs(rrb.TextLogView(origin="/events", name="events"), rrb.TextDocumentView(origin="/about", name="about")),
        row_shares=[1.0] * len(short) + [3.0] * bool(curves) + [1.0],
    )
    whole = rrb.Horizontal(rrb.Vertical(*seen), right, column_shares=list(_SHARES)) if seen else right
    return rrb.Blueprint(whole, rrb.TimePanel(state="collapsed"), auto_views=False)

"""One self-contained HTML page of figures and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = 64  # of an animation, which is large enough as it is


@dataclass(frozen=True)
class Picture:
    """One picture of the page, or a text alone."""

    title: str
    text: str
    content: str = ""  # base64
    kind: Literal["png", "gif"] = "png"


def picture(title: str, text: str, figure: Figure) -> Picture:
    """Render a matplotlib figure for the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode())


def saved_picture(path: Path, title: str, text: str, figure: Figure) -> Picture:
    """The same, written as a PNG to ``path``, too."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    return picture(title, text, figure)


def animation(title: str, text: str, frames: Sequence[NDArray[np.uint8]], *, period_s: float) -> Picture:
    """Pictures [H, W, 3] shown in turn, ``period_s`` each (a GIF knows hundredths of a second)."""
    from PIL import Image

    images = [Image.fromarray(frame).quantize(_COLOURS) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * period_s), loop=0)
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode(), "gif")


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    headline: Sequence[tuple[str, str]],
    pictures: Sequence[Picture],
    rows: Mapping[str, Any],
) -> None:
    """Write the page to ``path``."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("robot_wm"), autoescape=True)
    page = environment.get_template("page.html.j2").render(
        title=title, subtitle=subtitle, headline=headline, pictures=pictures, rows=list(rows.items())
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page)

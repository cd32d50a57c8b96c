"""Numbers drawn on a picture: what was asked of the robot, what it does, the time, the return, faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

LEAST_HEIGHT = 240  # pixels; smaller pictures are enlarged, or no letter could be read
LETTERS = 32  # lines of text that fit the picture's height
_INK, _PALE, _BACK = (20, 20, 20, 255), (90, 90, 90, 255), (255, 255, 255, 190)
_ASKED, _DONE = (20, 20, 20, 255), (30, 120, 220, 255)

# Letters that come and go as numbers change, by the widest of their kind: columns must not tremble.
_WIDEST = str.maketrans("123456789-", "000000000+")


class Gauge(NamedTuple):
    """A quantity that was asked for, beside what came of it."""

    asked: float
    actual: float
    limit: float  # the bar's ends, ±
    unit: str

    def __str__(self) -> str:
        return f"{self.actual:+.2f} of {self.asked:+.2f} {self.unit}"


Panel = Mapping[str, str | Gauge]  # lines by name


def overlay(frame: NDArray[np.uint8], left: Panel, right: Panel) -> NDArray[np.uint8]:
    """A copy of ``frame`` [H, W, 3] with a panel of lines in each upper corner; an empty one is left out.

    A gauge is text and a bar: blue from zero to the actual value, a black tick at the one asked for; both end at the
    bar's limit. Pictures lower than 240 pixels are enlarged by a whole factor.
    """
    from PIL import Image, ImageDraw, ImageFont

    factor = -(-LEAST_HEIGHT // frame.shape[0])
    image = Image.fromarray(frame.repeat(factor, axis=0).repeat(factor, axis=1)).convert("RGB")
    draw = ImageDraw.Draw(image, "RGBA")  # which mixes what is translucent with what is there
    font = ImageFont.load_default(max(9, image.height // LETTERS - 2))
    for panel, is_right in ((left, False), (right, True)):
        if panel:
            _draw_panel(draw, font, panel, image.width if is_right else None)
    return np.asarray(image)


def _draw_panel(draw: ImageDraw, font: FreeTypeFont | ImageFont, panel: Panel, right_edge: int | None) -> None:
    """Names, values and bars in three columns, from the left edge or up to ``right_edge``, px."""
    line = draw.textbbox((0, 0), "Ag", font=font)[3] + 3
    gap = line // 2
    names = max(draw.textlength(name, font=font) for name in panel)
    values = max(draw.textlength(str(value).translate(_WIDEST), font=font) for value in panel.values())
    bars = 5 * line if any(isinstance(value, Gauge) for value in panel.values()) else 0
    width = names + values + bars + (4 if bars else 3) * gap
    x = 0.0 if right_edge is None else right_edge - width
    draw.rectangle((x, 0, x + width, len(panel) * line + gap), fill=_BACK)
    for row, (name, value) in enumerate(panel.items()):
        y = row * line + gap / 2
        draw.text((x + gap, y), name, font=font, fill=_PALE)
        draw.text((x + names + 2 * gap, y), str(value), font=font, fill=_INK)
        if isinstance(value, Gauge):
            _draw_bar(draw, value, x + names + values + 3 * gap, y + 2, width=bars, height=line - 5)


def _draw_bar(draw: ImageDraw, gauge: Gauge, x: float, y: float, *, width: float, height: float) -> None:
    def place(value: float) -> float:
        return x + width / 2 * (1 + min(max(value / gauge.limit, -1.0), 1.0))

    low, high = sorted((place(0.0), place(gauge.actual)))
    draw.rectangle((x, y, x + width, y + height), outline=_PALE)
    draw.rectangle((low, y + 2, high, y + height - 2), fill=_DONE)
    draw.rectangle((place(gauge.asked) - 1, y - 1, place(gauge.asked) + 1, y + height + 1), fill=_ASKED)

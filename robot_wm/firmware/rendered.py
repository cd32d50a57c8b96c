"""One rendered file, and the templates that files are rendered from. jinja2 is imported only to render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RenderedFile:
    """A file for the robot: its name here, its text, and where on the robot it goes."""

    name: str
    text: str
    goes_to: str  # absolute path on the robot's computer, or a sentence
    purpose: str
    executable: bool = False


def fill_template(template: str, templates_of: str = "robot_wm.firmware", /, **values: Any) -> str:
    """Text of ``templates/<template>.j2`` of a package; what the template names and nobody gives is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(templates_of, "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=template.endswith(".xml"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.j2").render(**values)

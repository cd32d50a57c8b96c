"""Which message types this installation knows: bindings of observation fields, and messages of commands.

They come from the entry points `robot_wm.bindings`, so another distribution can bring a type of its own: a subclass of
``Binding`` (a field is read from it) or of ``CommandMessage`` (the parameter command_type is its name).
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint

from robot_wm.errors import UserError
from robot_wm.plugins import brought_by, entries, is_ours, load
from robot_wm.spec import ObservationField
from robot_wm_ros.binding import Binding, refusal
from robot_wm_ros.command_message import CommandMessage

GROUP = "robot_wm.bindings"


class BindingKinds:
    """What the group has, loaded once; ``broken`` tells in a line each what of others' cannot be used."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._bindings: dict[str, tuple[EntryPoint, type[Binding]]] = {}
        self._commands: dict[str, type[CommandMessage]] = {}
        for name, entry in entries(GROUP).items():
            try:
                found = load(entry)
            except UserError as error:
                self.broken.append(str(error))
                continue
            if isinstance(found, type) and issubclass(found, Binding):
                self._bindings[name] = entry, found
            elif isinstance(found, type) and issubclass(found, CommandMessage):
                self._commands[name] = found
            else:
                what = f"{entry.value} is {str(found)[:200]!r}, neither a Binding nor a CommandMessage"
                self.broken.append(f"{GROUP} {name!r} of {brought_by(entry)}: {what}")

    def of(self, field: ObservationField) -> type[Binding]:
        """Which binding fills a field: by its topic ours, then another's, then what reads any topic.

        UserError where two of other distributions would, or none does.
        """
        fits = [(e, kind) for e, kind in self._bindings.values() if kind.reads_pictures == field.is_image]
        by_topic = [(e, kind) for e, kind in fits if kind.topics and re.search(rf"(^|/)({kind.topics})$", field.topic)]
        ours = [(e, kind) for e, kind in by_topic if is_ours(e)]
        found = ours or by_topic or [(e, kind) for e, kind in fits if not kind.topics]
        if len(found) != 1:
            which = ", ".join(f"{e.name} of {brought_by(e)}" for e, _ in found) or "none"
            raise refusal(field, f"one binding of the group {GROUP} must read it, not {len(found)}: {which}")
        return found[0][1]

    def command(self, name: str) -> type[CommandMessage]:
        """The message of that command_type; UserError naming those that there are."""
        if name not in self._commands:
            known = ", ".join(self._commands)
            raise UserError(f"command_type {name!r} is not one of {known} (the commands of the group {GROUP})")
        return self._commands[name]

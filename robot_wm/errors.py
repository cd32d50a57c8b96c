"""The one error that a user can mend, and the one that ends what nobody waits for any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_MAX_CHARACTERS = 4000


class UserError(Exception):
    """Bad input, told in one line that names the file, field, value and unit.

    The command line prints the message without a traceback and exits with code 2.
    Everything else that escapes is a defect of ours and keeps its traceback. What a message quotes may come from
    anywhere, a hostile file too: line ends become spaces, terminal codes are spelt out, and it has an end.
    """

    def __init__(self, message: str) -> None:
        line = "".join(
            char if char.isprintable() else " " if char.isspace() else char.encode("unicode_escape").decode()
            for char in message[:_MAX_CHARACTERS]
        )
        super().__init__(line if len(message) <= _MAX_CHARACTERS else line + " …")

    @classmethod
    def from_validation(cls, error: ValidationError, *, origin: str) -> UserError:
        """The first problem of a failed pydantic validation: ``origin``, the field's dotted path and its value."""
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])[:200]
        message = first["msg"].removeprefix("Value error, ")[:400]
        if not path and first["type"] == "value_error":  # a rule between fields, which the message names
            return cls(f"{origin}: {message}")
        return cls(f"{origin}: {path or '(whole)'}: {message} (got {str(first['input'])[:80]!r})")


class StoppedError(BaseException):
    """Something was told to stop before it had a result.

    No Exception: a signal's handler raises it into whatever runs, a simulator's own ``except Exception`` too.
    """

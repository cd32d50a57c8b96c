"""The one error that a user can mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Bad input, told in one line that names the file, field, value and unit.

    The command line prints the message without a traceback and exits with code 2.
    Everything else that escapes is a defect of ours and keeps its traceback.
    """

    @classmethod
    def from_validation(cls, error: ValidationError, *, origin: str) -> UserError:
        """The first problem of a failed pydantic validation: ``origin``, the field's dotted path and its value."""
        first = error.errors()[0]
        path, message = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        if not path and first["type"] == "value_error":  # a rule between fields, which the message names
            return cls(f"{origin}: {message}")
        return cls(f"{origin}: {path or '(whole)'}: {message} (got {str(first['input'])[:80]!r})")

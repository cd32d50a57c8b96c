"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table


def messages() -> Console:
    """The console for messages, warnings and progress: stderr, so that stdout stays parseable."""
    return Console(stderr=True, highlight=False, emoji=False)


def progress(console: Console | None = None) -> Progress:
    """A progress bar with counts, elapsed time and ETA, on stderr."""

    def whole() -> Column:
        return Column(no_wrap=True)  # where the line is too long, the note is cut and no number

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=whole()),
        BarColumn(bar_width=16, table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        TimeElapsedColumn(table_column=whole()),
        TextColumn("ETA", table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
        TextColumn("{task.fields[note]}", table_column=Column(overflow="ellipsis")),
        console=console or messages(),
    )


def emit(result: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Print a result: one JSON object, or a table with a row per key (and one per element of ``rows``)."""
    if as_json:
        print(json.dumps(result, indent=2, default=_plain))
        return
    console = Console(emoji=False)
    rows = result.get("rows")
    plain = {key: value for key, value in result.items() if key != "rows"}
    if plain:
        table = Table(title=title or None, show_header=False)
        for key, value in plain.items():
            table.add_row(str(key), _text(value))
        console.print(table)
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = Table(*columns, title=None if plain else title or None)
        for row in rows:
            table.add_row(*(_text(row.get(column, "")) for column in columns))
        console.print(table)


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths and the like, as JSON knows them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{escape(str(key))} {_text(item)}" for key, item in value.items())
    # What is shown may come from a file, and [brackets] in it are no markup.
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))

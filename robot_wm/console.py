"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

_FRAME = 7  # columns of a table of two that are lines and blanks
LINE_EVERY_S = 30.0  # between two lines of progress where no terminal shows a bar


# Where JSON goes; None for standard output.
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep this process's standard output for the JSON that `emit` prints; all else that is printed goes to stderr.

    Simulators print there, from Python, from C, and from processes of their own, which inherit the file descriptor.
    """
    if sys.stdout is None or sys.stderr is None:  # closed by who called us
        yield
        return
    sys.stdout.flush()
    results = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)
    token = _results.set(results)
    try:
        yield
    finally:
        _results.reset(token)
        with suppress(OSError, ValueError):  # stderr may be what cannot be written, or a simulator has closed stdout
            sys.stdout.flush()
        os.dup2(results.fileno(), 1)
        with suppress(OSError):  # `emit` has flushed it, and whatever failed was told then
            results.close()


class _Messages(Console):
    """A console that leaves the breaking of lines of text to the terminal: a broken command cannot be pasted.

    Where its reader has gone (``2>&1 | head``) the work goes on unheard: rich would end the program.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap is None:
            soft_wrap = bool(objects) and all(isinstance(item, str) for item in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)


def messages() -> Console:
    """The console for messages, warnings and progress: stderr, so that stdout stays parseable.

    What is printed is text: a path may have brackets, which would be markup.
    """
    return _Messages(stderr=True, highlight=False, emoji=False, markup=False)


def progress(console: Console | None = None) -> Progress:
    """A progress bar with counts, elapsed time and ETA, on stderr; into a pipe or a file a plain line now and then."""
    console = console or messages()
    if not (console.is_interactive or console.is_jupyter):
        return _ProgressLines(console)

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
        console=console,
    )


class _ProgressLines(Progress):
    """Tells of every task in a line each LINE_EVERY_S, and once more at the end if it has got any further.

    The lines come from a thread: who reads a log wants to see life also while one update takes minutes.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, disable=True)
        self._told: dict[int, str] = {}  # what each task had come to when it was last told
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell_now_and_then, name="progress lines", daemon=True)

    def start(self) -> None:
        self._teller.start()

    def stop(self) -> None:
        self._ended.set()
        self._teller.join()
        for task in self.tasks:
            if task.completed:
                self._tell(task)

    def _tell_now_and_then(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            for task in self.tasks:
                if task.visible:
                    self._tell(task, again=not task.finished)

    def _tell(self, task: Task, *, again: bool = False) -> None:
        """Print the task's line; one that it has had already only if ``again``."""
        total = "" if task.total is None else f"/{task.total:.0f}"
        note = task.fields["note"]
        come_to = f"{task.completed:.0f}{total} {note}"
        if self._told.get(task.id) == come_to and not again:
            return
        self._told[task.id] = come_to
        parts = [f"{task.description}: {task.completed:.0f}{total}", f"elapsed {_clock(task.elapsed)}"]
        if not task.finished and task.time_remaining is not None:
            parts.append(f"ETA {_clock(task.time_remaining)}")
        parts += [note] if note else []
        self.console.print(", ".join(parts), markup=False, soft_wrap=True)


def _clock(seconds: float | None) -> str:
    return str(timedelta(seconds=round(seconds or 0.0)))


def emit(result: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Print a result: one JSON object, or a table with a row per key (and one per element of ``rows``).

    Nothing is cut, and no word is broken: a path, a hash or a command is there to be pasted. Where the columns of
    ``rows`` have no room every row is a table itself; a value that has none in it stands beneath, on lines of its own.
    """
    if as_json:
        print(json.dumps(result, indent=2, default=_plain), file=_results.get(), flush=True)
        return
    console = Console(emoji=False)
    rows = result.get("rows")
    plain = {key: value for key, value in result.items() if key != "rows"}
    if plain:
        _print_listed(console, plain, title)
    if rows:
        heading = "" if plain else title
        table = _columns(rows, heading)
        with console.capture() as shown:
            console.print(table)
        wanted = Counter(word for row in rows for value in row.values() for word in _words(_text(value)))
        wanted += Counter(word for name in rows[0] for word in _words(name))
        if wanted <= Counter(_words(shown.get())):  # every word whole, as often as it is there
            console.print(table)
        else:
            for row in rows:
                _print_listed(console, row, heading)


def _print_listed(console: Console, values: Mapping[str, Any], title: str) -> None:
    texts = {str(key): _text(value) for key, value in values.items()}
    room = console.width - max(map(cell_len, texts)) - _FRAME
    beneath = [key for key, text in texts.items() if any(cell_len(line) > room for line in text.splitlines())]
    table = Table(Column(no_wrap=True), Column(no_wrap=True), title=title or None, show_header=False)
    for key, text in texts.items():
        if key not in beneath:
            table.add_row(escape(key), escape(text))
    console.print(table)
    for key in beneath:
        for line in texts[key].splitlines():
            console.print(f"{key}: {line}", markup=False, highlight=False, soft_wrap=True)


def _columns(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    names = list(dict.fromkeys(key for row in rows for key in row))
    numeric = [not any(isinstance(row.get(name), str) for row in rows) for name in names]
    columns = [
        Column(escape(name), no_wrap=number, overflow="fold") for name, number in zip(names, numeric, strict=True)
    ]
    table = Table(*columns, title=title or None)
    for row in rows:
        # What is shown may come from a file, and [brackets] in it are no markup.
        table.add_row(*(escape(_text(row.get(name, ""))) for name in names))
    return table


def _words(text: str) -> list[str]:
    """What stands between blanks and the lines of a table, whatever they are drawn with."""
    return [word for word in re.split(r"[\s|│┃]+", text) if word]


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths and the like, as JSON knows them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The `robot-wm` command. It finds its commands by entry point and imports none of them by name."""

from __future__ import annotations

import codecs
import errno
import locale
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import cyclopts
from pydantic import ValidationError

from robot_wm.console import messages, results_alone
from robot_wm.errors import UserError
from robot_wm.plugins import entries, load

BAD_INPUT = 2
INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def build_app() -> cyclopts.App:
    """The command tree: a command per entry point of `robot_wm.commands`, `bench` and `zoo` with theirs."""
    app = cyclopts.App(
        name="robot-wm",
        help="Learn a world model in simulation, export it, and run it on a robot.",
        version=lambda: version("robot-wm"),
        help_format="plaintext",  # help texts contain <task> and [brackets] that are no markup
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it would leave by SystemExit, past what `run` says and returns
    )
    bench = cyclopts.App(name="bench", help="Measure on this machine: simulator, tick latency, learner.")
    zoo = cyclopts.App(name="zoo", help="Trained agents that come with the library: robot-wm run zoo:NAME.")
    for parent, group in ((app, "robot_wm.commands"), (bench, "robot_wm.benchmarks"), (zoo, "robot_wm.zoo")):
        for name, entry in entries(group).items():
            try:
                parent.command(load(entry), name=name)
            except UserError as error:  # somebody else's, and the other commands work
                parent.command(_unusable(str(error)), name=name)
    app.command(bench)
    app.command(zoo)
    return app


def _unusable(reason: str) -> Callable[..., None]:
    def refuse(*_: Annotated[str, cyclopts.Parameter(allow_leading_hyphen=True)]) -> None:
        raise UserError(reason)

    refuse.__doc__ = f"Cannot be used: {reason}"
    return refuse


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Bad input ends in one line on stderr and code 2."""
    with _interrupts() as came:
        try:
            return _run(arguments)
        except Exception:
            if not came:
                raise
    return _interrupted()


def _run(arguments: Sequence[str]) -> int:
    try:
        build_app()(list(arguments), exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        if isinstance(error.__cause__, ValidationError):
            return _refuse(str(UserError.from_validation(error.__cause__, origin="option")))
        return _refuse(str(error))
    except ValidationError as error:
        return _refuse(str(UserError.from_validation(error, origin="option")))
    except UserError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:  # a robot has the light core only
        if (error.name or "robot_wm").startswith("robot_wm"):
            raise
        return _refuse(f"this command needs {error.name}, which is not installed: pip install 'robot-wm[all]'")
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output has gone: robot-wm … | head
        sys.stderr.close()
        return 0
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return 0  # likewise, of a table, and rich has told nobody
    except OSError as error:
        # What the system refuses is no defect of ours: a full disk, no permission, no such place.
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        return _refuse(f"{error.filename or 'cannot write'}: {error.strerror}")
    return 0


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The interrupts that have come, for what they break may raise something else than KeyboardInterrupt.

    Where one comes while C++ converts an argument, pybind11 tells of an argument that cannot be converted.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield came
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted() -> int:
    messages().print("interrupted")
    return INTERRUPTED


def _refuse(message: str) -> int:
    line = " ".join(message.split())
    with suppress(OSError):  # stderr may be what cannot be written
        messages().print(f"robot-wm: {line}")
    return BAD_INPUT


def main() -> None:
    """Entry point of the `robot-wm` script."""
    if not sys.flags.utf8_mode and codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        # All files here are UTF-8, in a C locale too, and so are those that other processes read for us. What the
        # terminal's own encoding lacks, a table's lines or letters of names, is shown as ?.
        own = {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{sys.stdout.encoding}:replace"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | own)
    with results_alone() if "--json" in sys.argv[1:] else nullcontext():
        code = run(sys.argv[1:])
    try:
        if sys.stdout is not None and not sys.stdout.closed:  # by who called us, or by what ran here
            sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
    except OSError as error:
        code = _refuse(f"standard output: {error.strerror}")
        _give_up_stdout()
    sys.exit(code)


def _give_up_stdout() -> None:
    """What is still in its buffer would be written at exit, and fail again."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

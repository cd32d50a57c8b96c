"""The `robot-wm` command. It finds its commands by entry point and imports none of them by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version

import cyclopts
from pydantic import ValidationError

from robot_wm.console import messages
from robot_wm.errors import UserError

BAD_INPUT = 2
INTERRUPTED = 130


def build_app() -> cyclopts.App:
    """The command tree: a command per entry point of `robot_wm.commands`, `bench` and `zoo` with theirs."""
    app = cyclopts.App(
        name="robot-wm",
        help="Learn a world model in simulation, export it, and run it on a robot.",
        version=lambda: version("robot-wm"),
        help_format="plaintext",  # help texts contain <task> and [brackets] that are no markup
        result_action="return_value",
    )
    bench = cyclopts.App(name="bench", help="Measure on this machine: simulator, tick latency, learner.")
    zoo = cyclopts.App(name="zoo", help="Trained agents that come with the library: robot-wm run zoo:NAME.")
    for parent, group in ((app, "robot_wm.commands"), (bench, "robot_wm.benchmarks"), (zoo, "robot_wm.zoo")):
        for entry in sorted(entry_points(group=group), key=lambda item: item.name):
            parent.command(entry.load(), name=entry.name)
    app.command(bench)
    app.command(zoo)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Bad input ends in one line on stderr and code 2."""
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
        messages().print("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: robot-wm … | head
        sys.stderr.close()
        return 0
    return 0


def _refuse(message: str) -> int:
    line = " ".join(message.split())
    messages().print(f"robot-wm: {line}", markup=False, soft_wrap=True)
    return BAD_INPUT


def main() -> None:
    """Entry point of the `robot-wm` script."""
    sys.exit(run(sys.argv[1:]))

"""Work that needs a world of its own to be done in: each process builds one, and is asked again and again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Setting = TypeVar("Setting")
# Opens what works in a setting, and answers each item with it.
Open = Callable[[Setting], AbstractContextManager[Callable[[Item], Answer]]]
AnswerAll = Callable[[Sequence[Item]], list[Answer]]
_END_S = 10.0


@contextmanager
def working(
    open_worker: Open[Setting, Item, Answer], setting: Setting, processes: int
) -> Iterator[AnswerAll[Item, Answer]]:
    """Answers of several items at once, in their order; with one process it is this one.

    ``open_worker`` is a function of a module, as a new process has to find it. What it raises is raised here.
    """
    with ExitStack() as stack:
        if processes == 1:
            answer = stack.enter_context(open_worker(setting))
            yield lambda items: [answer(item) for item in items]
            return
        # What is forked from a process with an engine's threads may hang.
        spawn = multiprocessing.get_context("spawn")
        ends = []
        for _ in range(processes):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(there, open_worker, setting), daemon=True)
            process.start()
            there.close()  # so that the end of the process is the end of the pipe
            stack.callback(process.join, _END_S)
            stack.callback(here.close)
            ends.append(here)
        yield lambda items: _shared_out(ends, items)


def _shared_out(ends: Sequence[Connection], items: Sequence[Any]) -> list[Any]:
    answers: list[Any] = [None] * len(items)
    left, busy = iter(enumerate(items)), dict[Connection, int]()
    for end in ends:
        _give(end, left, busy)
    while busy:
        ready = wait(list(busy))
        for end in [one for one in busy if one in ready]:
            place = busy.pop(end)
            try:
                answers[place], error = end.recv()
            except EOFError:
                raise RuntimeError("a process of the search has ended before its work") from None
            if error is not None:
                raise error
            _give(end, left, busy)
    return answers


def _give(end: Connection, left: Iterator[tuple[int, Any]], busy: dict[Connection, int]) -> None:
    """Send the next item, if there is one."""
    for place, item in left:
        end.send(item)
        busy[end] = place
        return


def _serve(end: Connection, open_worker: Open[Any, Any, Any], setting: Any) -> None:
    try:
        with open_worker(setting) as answer:
            while True:
                item = end.recv()
                try:
                    end.send((answer(item), None))
                except Exception as error:  # whoever asked is told
                    end.send((None, error))
    except (EOFError, KeyboardInterrupt):  # nobody asks any more
        return
    except Exception as error:  # of opening; it is told in place of the first answer
        end.recv()
        end.send((None, error))

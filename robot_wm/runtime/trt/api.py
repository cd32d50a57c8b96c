"""The TensorRT that is installed, 8.6 to 11: told by its attributes, because versions change names, not numbers.

Used of it is what all of these have in common: the tensor addresses of ``execute_async_v3`` and the builder's
serialized network. What only some have is asked for by name here and nowhere else.
"""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError

_FULL, _LEAN = "tensorrt", "tensorrt_lean"
_MAX_LINES = 8  # of TensorRT's complaints: the first names the cause
_PARSED = "Parsing node: "  # how every version's parser announces a node


@dataclass(frozen=True)
class TensorRT:
    """One TensorRT module and what it offers. ``log`` is for everything that is made with it."""

    module: Any
    version: str
    log: Any  # an ILogger with ``take`` and ``parsing``

    @property
    def can_build(self) -> bool:
        """Whether it has a builder and an ONNX parser; tensorrt_lean only runs version-compatible plans."""
        return hasattr(self.module, "OnnxParser") and hasattr(self.module, "IBuilderConfig")

    @property
    def strongly_typed(self) -> bool:
        """Whether a network computes in the types that its graph has (9 and newer), rather than in what flags allow."""
        return self._member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") is not None

    def creation_flags(self) -> int:
        """For ``Builder.create_network``. Before 10 a batch axis is explicit only if that is asked for."""
        names = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
        flags = (self._member("NetworkDefinitionCreationFlag", name) for name in names)
        return sum(1 << int(flag) for flag in flags if flag is not None)

    def builder_flag(self, name: str) -> Any:
        """A ``BuilderFlag``; None where this version has none of that name."""
        return self._member("BuilderFlag", name)

    def _member(self, enumeration: str, name: str) -> Any:
        return getattr(getattr(self.module, enumeration, None), name, None)

    def make(self, name: str, *arguments: Any) -> Any:
        """An object of the module's class ``name``. Raises EngineError where TensorRT makes none."""
        self.log.take()
        try:
            return getattr(self.module, name)(*arguments)
        except TypeError as error:  # how the bindings say that the library returned nothing
            raise EngineError(f"no {name}: {self.log.take()} ({error})") from None

    @property
    def tells_progress(self) -> bool:
        """Whether a build can be watched (9 and newer)."""
        return hasattr(self.module, "IProgressMonitor")


def load(*, need_builder: bool = False) -> TensorRT:
    """The installed TensorRT, or tensorrt_lean where that alone is there and no engine is to be built.

    Raises UserError with the command that mends it.
    """
    reasons = []
    for name in (_FULL,) if need_builder else (_FULL, _LEAN):
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # also a library of its own that is not there
            if not isinstance(error, ModuleNotFoundError) or error.name != name:
                reasons.append(f"{name} cannot be imported: {error}")
            continue
        if not hasattr(getattr(module, "IExecutionContext", None), "execute_async_v3"):
            reasons.append(f"{name} {getattr(module, '__version__', '')} is no TensorRT of 8.6 or newer")
            continue
        found = _of(module)
        if need_builder and not found.can_build:
            reasons.append(f"{name} {found.version} has no builder")
            continue
        return found
    command = mend(is_jetson=Path("/etc/nv_tegra_release").exists())
    raise UserError(f"TensorRT cannot be used here: {'; '.join(reasons) or 'it is not installed'}; {command}")


def mend(*, is_jetson: bool) -> str:
    """The command that installs TensorRT. A Jetson's virtual environment sees it with --system-site-packages."""
    return "sudo apt install nvidia-jetpack" if is_jetson else "pip install tensorrt"


@cache  # TensorRT takes the first logger of a process for all that follows
def _of(module: Any) -> TensorRT:
    class Log(module.ILogger):  # type: ignore[misc]
        """Keeps TensorRT's complaints for the error message that they belong to, and prints nothing."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self._bad = (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR)
            self._lines: deque[str] = deque(maxlen=64)
            self.parsing = ""  # name and operator of the node that the ONNX parser read last

        def log(self, severity: Any, msg: str) -> None:
            """Called by TensorRT, from any of its threads."""
            if severity in self._bad:
                self._lines.append(" ".join(msg.split())[:400])
            elif _PARSED in msg:
                self.parsing = msg.partition(_PARSED)[2][:200]

        def take(self) -> str:
            """What was complained about since the last call, in one line."""
            lines = list(dict.fromkeys(self._lines))[:_MAX_LINES]
            self._lines.clear()
            return "; ".join(lines) or "TensorRT gives no reason"

    return TensorRT(module=module, version=str(module.__version__), log=Log())

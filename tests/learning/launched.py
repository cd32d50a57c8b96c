"""Several processes of one program, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def torchrun(ranks: int, *program: str | Path, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
    """Run a program's file, or -m and a module, with its arguments on so many ranks; the port is a free one."""
    folders = [TESTS / name for name in ("learning", "dreamer", "muzero", "training")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, folders), *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*command, *map(str, program)], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )

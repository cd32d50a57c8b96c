"""What stands for `robot-wm` in tests of sweeping: a run whose curve follows from its settings, in no time.

It ends at ``steps`` with 1 - |log10(learning rate) + 3|, on a straight line; with a learning rate of 0.05 or more it
fails. How often it was begun is in ``begun`` in its folder.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from pathlib import Path

from robot_wm.yaml_file import read_mapping

ROWS, ROW_S = 9, 0.02


def train(config: Path, folder: Path) -> int:
    settings = read_mapping(config)
    rate, steps = settings["dreamer"]["learning_rate"], settings["steps"]
    with (folder / "begun").open("a") as begun:
        begun.write("again\n" if "--resume" in sys.argv else "anew\n")
    if rate >= 0.05:
        print("robot-wm: diverged", file=sys.stderr)
        return 2
    for row in range(1, ROWS + 1):
        if row == ROWS and rate != 0.001:
            time.sleep(settings.get("time_limit_s", 0) % 400)  # 400 is the preset's
        value = (1 - abs(math.log10(rate) + 3)) * row / ROWS
        with (folder / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"step": steps * row // ROWS, "eval/return": value}) + "\n")
        time.sleep(ROW_S)
    print(json.dumps({"wall_s": 1.0, "stopped_by": "steps"}))
    return 0


def stopped(number: int, frame: object) -> None:
    print(json.dumps({"stopped_by": "signal"}), flush=True)
    sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stopped)
    if sys.argv[1] == "eval":
        print(json.dumps({"return_mean": 7.0, "task": "cartpole_balance"}))
        sys.exit(0)
    sys.exit(train(Path(sys.argv[sys.argv.index("--config") + 1]), Path(sys.argv[sys.argv.index("--run-dir") + 1])))

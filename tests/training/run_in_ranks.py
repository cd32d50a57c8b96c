"""A rank of a run, as test_ranks_of_a_run has torchrun start it: the run's config, and what befalls it.

run_in_ranks.py CONFIG.json goes-on|killed|failing|unequal
"""

import json
import os
import signal
from pathlib import Path

import numpy as np
import torch

from robot_wm import cli
from robot_wm.errors import UserError
from robot_wm.learning.process_group import process_group
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer


def arrays(trainer):
    """All that the next update and the next step of this rank depend on."""
    learner = {name: tensor.cpu().numpy() for name, tensor in trainer.learner.state_dict().items()}
    counted = trainer.state.model_dump(mode="json", exclude={"config", "replay_version", "wall_s", "evaluation"})
    replay = {f"replay/{name}": value for name, value in trainer.sampler.state_dict().items()}
    return learner | replay | {"counted": np.frombuffer(json.dumps(counted).encode(), np.uint8)}


def befalls(what, ranks):
    def report(trainer):
        if ranks.rank != 1 or trainer.state.updates < 3:
            return
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "failing":
            raise UserError("the simulator of this rank broke")

    return report


def main(config, what):
    if what == "unequal" and os.environ["RANK"] == "1":
        config = config.model_copy(update={"envs": 3, "train_ratio": 4.0})
    with process_group(torch.device("cpu")) as ranks:
        trainer = Trainer(config, resume=config.folder.exists(), ranks=ranks)
        seen = {"begun_with": len(trainer.sampler)}
        trainer.train(befalls(what, ranks))
        left = arrays(trainer)
        taken_up = arrays(Trainer(config, resume=True, ranks=ranks))
        seen["differ"] = [name for name in left if not np.array_equal(left[name], taken_up[name])]
        (config.folder / f"seen-{ranks.rank}").write_text(json.dumps(seen))


def run(path, what):
    main(TrainConfig.model_validate_json(Path(path).read_text()), what)


if __name__ == "__main__":
    cli.build_app = lambda: lambda arguments, **_: run(*arguments)  # errors end as they do on the command line
    cli.main()

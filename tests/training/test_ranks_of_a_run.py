"""A run on several ranks, as torchrun starts them: counted once, gone on from by any number of them, ended by any."""

import json
import re
from pathlib import Path

import pytest
import torch
from launched import torchrun

from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.replay.store import EpisodeStore
from robot_wm.training import checkpoint, scalars
from robot_wm.training.last_sound import LastSound
from robot_wm.training.loop import Trainer
from robot_wm.training.shares import own_config

PROGRAM = Path(__file__).parent / "run_in_ranks.py"


@pytest.fixture
def on_two(tmp_path):
    """Have two ranks run with a config, and something befall them."""

    def launch(config, what):
        told = tmp_path / "config.json"
        told.write_text(config.model_dump_json())
        return torchrun(2, PROGRAM, told, what)

    return launch


def lines(done):
    return [line for line in done.stderr.splitlines() if line.startswith("robot-wm:")]


def seeds(run):
    return {episode.source.seed for episode in EpisodeStore.open(run / "replay").episodes()}


def test_a_run_goes_on_on_two_ranks_bit_for_bit_there_and_on_one_again(tiny, on_two):
    alone = Trainer(tiny(steps=80))
    alone.train()
    run, before = alone.run, seeds(alone.run)
    config = tiny(steps=200, eval_every_steps=120, eval_episodes=1)
    done = on_two(config, "goes-on")
    assert done.returncode == 0, done.stderr
    told = [json.loads((run / f"seen-{rank}").read_text()) for rank in (0, 1)]
    assert told[0]["differ"] == told[1]["differ"] == []
    assert told[0]["begun_with"] > 60
    assert told[1]["begun_with"] > 60, "the new rank does not learn from what the other one has stored"

    state = checkpoint.read_state(checkpoint.latest_path(run))
    assert (state.ranks, state.env_steps) == (2, 200)
    # 20 steps of one rank x 8 replayed / (4 x 8 an update), then 120 of two, whose updates take twice as many.
    assert state.updates == 5 + 15
    rows = [row["step"] for row in scalars.read(run) if "run/updates" in row]
    assert rows == sorted(set(rows))
    assert not list((run / "ranks").rglob("metrics.jsonl")), "another rank than the first one writes a log"
    other = checkpoint.read_state(checkpoint.latest_path(run / "ranks" / "1"))
    assert state.evaluation == other.evaluation != {}
    share = EpisodeStore.open(run / "ranks" / "1" / "replay")
    theirs = sum(episode.length for episode in share.episodes())
    assert 50 <= theirs <= 70, "half of the 120 steps, and a reset or two"
    assert not seeds(run / "ranks" / "1") & (seeds(run) | before), "two ranks play the same episodes"
    learner = checkpoint.read_learner(checkpoint.latest_path(run / "ranks" / "1"))
    assert learner.keys() == {"generator", "actor_rng"}

    again = Trainer(tiny(steps=240), resume=True)
    assert again.state.updates == 20
    assert len(again.sampler) == 140 + theirs, "what the other rank has stored is lost"
    assert again.train().updates == 20 + 10
    assert checkpoint.read_state(checkpoint.latest_path(run)).ranks == 1


@pytest.mark.parametrize(
    ("what", "cause"),
    [("killed", r"rank 1 \(process \d+\) was killed"), ("failing", "rank 1 failed: the simulator of this rank broke")],
)
def test_a_rank_that_ends_ends_the_run_with_the_cause_and_a_checkpoint(tiny, on_two, what, cause):
    config = tiny(steps=100_000, checkpoint_every_steps=100_000)
    done = on_two(config, what)
    assert done.returncode != 0
    assert any(re.fullmatch(f"robot-wm: {cause}", line) for line in lines(done)), done.stderr
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]
    state = checkpoint.read_state(checkpoint.latest_path(config.folder))
    assert state.env_steps > 60
    again = Trainer(tiny(steps=state.env_steps + 20), resume=True)
    # What was made since the last sound state is owed, and made again.
    earned = again.state.updates + (again.state.update_credit or 0.0)
    assert earned * 64 / 8 == pytest.approx(state.env_steps - 60)
    assert again.train().env_steps == state.env_steps + 20
    assert torch.isfinite(next(again.agent.parameters())).all()


def test_ranks_that_were_told_different_things_are_refused_in_one_line(tiny, on_two):
    config = tiny()
    done = on_two(config, "unequal")
    assert lines(done) == ["robot-wm: --envs: rank 1 has 3, rank 0 2; all ranks of a run need the same"]
    codes = set(re.findall(r"exitcode\s+: (\S+)", done.stderr))
    assert "2" in codes
    assert codes <= {"2", "-15"}, "torchrun may end the other rank before it has ended itself"
    assert not config.folder.exists()


def test_a_learner_goes_back_behind_an_update_that_a_lost_rank_left_half_done(tiny, monkeypatch):
    trainer = Trainer(tiny(steps=120))
    trainer.train()
    learner, state, sound = trainer.learner, trainer.state, LastSound()
    assert not sound.go_back(learner, state)
    sound.keep(learner, state)
    kept, updates, earned = learner.state_dict(), state.updates, state.updates + state.update_credit
    trainer._updates.run(2)
    state.updates, state.update_credit = state.updates + 2, state.update_credit - 2
    sound.keep(learner, state)  # too soon: the copy stays the older one
    with torch.no_grad():
        next(learner.agent.parameters()).fill_(torch.nan)
    assert sound.go_back(learner, state)
    assert all(torch.equal(value, kept[name]) for name, value in learner.state_dict().items())
    assert (state.updates, state.updates + state.update_credit) == (updates, earned)
    monkeypatch.setattr(learner, "first_nonfinite", lambda: "parameter at update 3")
    sound = LastSound()
    sound.keep(learner, state)
    assert not sound.go_back(learner, state), "a learner that is not finite is gone back to"


def test_each_rank_has_a_folder_and_a_seed_of_its_own(tiny):
    config = tiny(seed=7)
    assert own_config(config, ALONE) is config
    others = []
    for rank in (1, 2):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 3
        others.append(own_config(config, ranks))
    assert [other.folder.relative_to(config.folder).as_posix() for other in others] == ["ranks/1", "ranks/2"]
    assert len({config.seed, *(other.seed for other in others)}) == 3
    assert others[0].model_copy(update={"seed": 7, "run_dir": config.run_dir}) == config

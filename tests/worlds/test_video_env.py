"""The environment over curves: what it pays, what it tells, and what it must not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from planted_programmes import planted

from robot_wm.errors import UserError
from robot_wm.tasks import OWN_ENGINE, backend_name, reward_function
from robot_wm_worlds.video import plans
from robot_wm_worlds.video.curves import read_all, shipped
from robot_wm_worlds.video.encoder import QUANTISERS
from robot_wm_worlds.video.env import AS_OFFERED, FIGURES, REACH, STEPS, TASK, RateControlEnv, video_rate_control
from robot_wm_worlds.video.forecast import COARSEST_PROBE, PROBES
from robot_wm_worlds.video.knowledge import LOOKED_AHEAD
from robot_wm_worlds.video.link import Link
from robot_wm_worlds.video.programme import CHUNKS, TEST_QUANTISERS, kept_rate


def started(programme, quantiser=29.0):
    env = RateControlEnv()
    env.reset(seed=0)
    env.begin(programme, kept_rate(programme.bytes_at(quantiser), len(programme)))
    return env


def played(env, actions):
    steps = [env.step(action) for action in actions]
    return [step[0] for step in steps], [step[1] for step in steps], steps[-1][4]


def test_gymnasium_finds_nothing_wrong():
    check_env(RateControlEnv(), skip_render_check=True)


def test_an_episode_pays_what_it_gains_over_the_constant_quantiser_at_one_price():
    """Summed by hand from the curves, for actions of every kind."""
    programme = planted(3)
    env = started(programme)
    actions = [0, 5, 7, AS_OFFERED, 12, 13, 14, 1]
    _, rewards, info = played(env, actions)
    link = env.link
    price, rows = plans.fair_price(programme, link.budget), np.arange(len(programme))

    def worth(plan):
        return (programme.vmaf - price * programme.size)[rows, plan].sum()

    plan, beside = np.array(env.plan), plans.constant(programme, link)
    assert sum(rewards) == pytest.approx(worth(plan) - worth(beside))
    figures = info["figures"]
    assert set(figures) == set(FIGURES)
    assert figures["gain_vmaf"] == pytest.approx(plans.quality(programme, plan) - plans.quality(programme, beside))
    assert figures["spent"] == pytest.approx(plans.cost(programme, plan) / link.budget)


def test_the_plan_of_the_price_is_paid_most():
    """No plan's reward exceeds its; the constant quantiser's own is 0."""
    programme = planted(4)
    env = started(programme)
    gain = np.array(env._gain)  # [N, M]
    best = plans.at_price(programme, plans.fair_price(programme, env.link.budget))
    rows = np.arange(len(programme))
    assert (gain[rows, best] == gain.max(1)).all()
    assert gain[rows, plans.constant(programme, env.link)] == pytest.approx(0.0)


@pytest.mark.parametrize("action", [0, REACH, STEPS - 1, STEPS, 2 * STEPS + REACH, 3 * STEPS - 1])
def test_an_action_is_a_spread_by_its_rank_and_steps_from_what_is_offered(action):
    env = started(planted(5))
    rank, step = divmod(action, STEPS)
    spread, offered = divmod(env._knowledge.offers[rank], len(QUANTISERS))
    env.step(action)
    wanted = min(max(offered + step - REACH, 0), len(QUANTISERS) - 1)
    assert env.plan[0] // len(QUANTISERS) == spread
    assert env.plan[0] % len(QUANTISERS) >= wanted  # coarser where the link cannot take it
    assert env.programme.size[0, env.plan[0]] <= env.link.buffer


def test_taking_every_offer_is_the_plan_of_the_forecast():
    for seed in range(4):
        env = started(planted(seed))
        played(env, [AS_OFFERED] * 8)
        assert env.plan == plans.forecast(env.programme, env.link).tolist()


def test_nothing_is_told_of_a_coming_chunk_but_its_probes():
    programme = planted(6)
    changed = {key: getattr(programme, key).copy() for key in ("size", "vmaf", "psnr_db", "first")}
    for key, values in changed.items():
        kept = values[:, [*PROBES, COARSEST_PROBE]].copy()
        values[3:] = values[3:] * 0.9 if key in ("vmaf", "psnr_db") else np.maximum(values[3:] * 2, 2)
        values[:, [*PROBES, COARSEST_PROBE]] = kept
    other = replace(programme, **changed)
    rate = kept_rate(programme.bytes_at(29.0), len(programme))
    seen = []
    for one in (programme, other):
        env = started(one)
        env.begin(one, rate)
        seen.append(played(env, [AS_OFFERED, 2, 9])[0])
    for mine, theirs in zip(*seen, strict=True):
        for name, value in mine.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_five_seconds_are_looked_ahead():
    env = started(planted(7))
    seen, fair = env._knowledge.observe(), env.link.fair
    fine, middle = PROBES[0], PROBES[3]  # evenly spread
    expected = np.log2(env.programme.size[:LOOKED_AHEAD, fine] / fair)
    np.testing.assert_allclose(seen["coming_size"], expected, rtol=1e-5)
    np.testing.assert_allclose(seen["coming_middle"], env.programme.vmaf[:LOOKED_AHEAD, middle], rtol=1e-5)
    coarse = env.programme.size[:LOOKED_AHEAD, PROBES[6]]
    np.testing.assert_allclose(
        seen["coming_fall"], np.log2(env.programme.size[:LOOKED_AHEAD, fine] / coarse), rtol=1e-5
    )
    last = played(env, [AS_OFFERED] * 7)[0][-1]
    assert last["coming_size"][0] == pytest.approx(np.log2(env.programme.size[7, fine] / fair), rel=1e-5)
    assert last["coming_size"][1:] == pytest.approx(1.0)  # one chunk is left
    assert last["chunks_left"] == pytest.approx(1 / 8)


def test_a_seed_fixes_an_episode():
    runs = []
    for _ in range(2):
        env = RateControlEnv(seed=9)
        env.reset()
        first = env.programme.parts
        env.reset()
        runs.append((first, env.programme.parts, played(env, [AS_OFFERED] * CHUNKS)[1]))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]  # and the next one is another


def test_the_test_is_of_clips_that_are_not_learned_from():
    learned, tested = (read_all(shipped(), split) for split in ("train", "test"))
    assert not {one.clip for one in learned} & {one.clip for one in tested}
    assert not {one.clip.split("_")[0] for one in learned if one.clip.startswith("bunny")} & {
        one.clip.split("_")[0] for one in tested
    }
    env = video_rate_control(split="test")
    assert {clip for programme, _ in env.tests for clip, _ in programme.parts} <= {one.clip for one in tested}
    assert len(env.tests) % len(TEST_QUANTISERS) == 0
    env.reset(options={"test": 3})
    assert env.programme is env.tests[3][0]
    assert env.link == Link.of(env.tests[3][1], CHUNKS)


@pytest.mark.parametrize("number", [-1, 1000, "first", 1.0])
def test_a_test_that_there_is_not_is_refused(number):
    with pytest.raises(UserError, match=rf"^task {TASK}: test is .*{number}.*must be one of 0…"):
        video_rate_control(split="test").reset(options={"test": number})


def test_a_picture_and_a_folder_that_is_none_are_refused_in_a_line(tmp_path):
    with pytest.raises(UserError, match=rf"^task {TASK}: render_mode rgb_array: "):
        RateControlEnv(render_mode="rgb_array")
    with pytest.raises(UserError, match=r"there is no such folder of curves$"):
        RateControlEnv(curves=tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no curves \(\*\.csv\) of split train$"):
        RateControlEnv(curves=tmp_path)


def test_it_is_over_no_physics_backend_and_rewards_nothing_that_a_robot_recorded():
    assert backend_name(TASK, {}) == OWN_ENGINE
    assert reward_function(RateControlEnv()) is None

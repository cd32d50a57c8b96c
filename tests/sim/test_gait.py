"""Figures of a gait on motions whose figures are known."""

import pytest

from robot_wm_sim import gait

STILL = ((0.0,) * 4, (30.0,) * 4)  # heights in m and forces in N of four feet on the ground


def figures(steps, *, period_s=0.02):
    """Values after steps of (command, speed) or (command, speed, power, heights, forces)."""
    kept, told = gait.GaitFigures(feet=4, motors=2, mass_kg=10.0, period_s=period_s), []
    for command, speed, *rest in steps:
        power, heights, forces = rest or (0.0, *STILL)
        # Two motors: what one takes up does not make up for what the other gives off.
        kept.step(command, speed, power_w=[power, -9.0], heights_m=heights, forces_n=forces)
        if len(told) % 3 == 0:  # in pieces, as somebody looks
            kept.values()
        told.append(kept.largest_error)
    values = kept.values()
    assert tuple(values) == gait.NAMES
    assert max(values["velocity_error_m_s"], values["yaw_error_rad_s"]) == (told[-1] if told else 0.0)
    return values


def test_figures_of_a_step_stay_what_they_were_whenever_they_are_asked_for():
    kept = gait.GaitFigures(feet=4, motors=1, mass_kg=10.0, period_s=0.02)
    told = []
    for step in range(120):
        command = (0.5, 0.0, 0.4) if step < 90 else (0.1, 0.0, 0.0)
        lifted = step % 20 < 10
        heights, forces = (
            (0.001 * step if lifted else 0.0, 0.0, 0.0, 0.0),
            (0.0 if lifted else 30.0, 30.0, 30.0, 30.0),
        )
        speed = (0.004 * step, 0.1, 0.01 * step)
        kept.step(command, speed, power_w=[0.5 * step], heights_m=heights, forces_n=forces)
        told.append(kept.values())
    assert told[-1] == kept.values()
    assert None not in told[-1].values()
    for steps in (120, 30, 31, 119, 1, 120):  # forwards and backwards
        assert kept.values(steps) == told[steps - 1]


def test_nothing_is_told_that_was_not_there():
    assert [value for name, value in figures([]).items() if "error" not in name] == [None] * 5
    standing = figures([((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))] * 10)
    assert standing["velocity_error_m_s"] == standing["yaw_error_rad_s"] == 0.0
    assert standing["velocity_gain"] is None  # nothing was asked for
    assert standing["cost_of_transport"] is None  # nor went anywhere


def test_errors_and_gains():
    values = figures([((0.6, 0.8, -0.5), (0.3, 0.4, -0.5)), ((0.6, 0.8, -0.5), (0.6, 0.8, -1.0))])
    assert values["velocity_error_m_s"] == pytest.approx((0.5 + 0.0) / 2)
    assert values["yaw_error_rad_s"] == pytest.approx((0.0 + 0.5) / 2)
    assert values["velocity_gain"] == pytest.approx((0.5 + 1.0) / 2)
    assert values["yaw_gain"] == pytest.approx((1.0 + 2.0) / 2)
    backwards = figures([((0.5, 0.0, 0.0), (-0.5, 0.0, 0.0))])
    assert backwards["velocity_gain"] == pytest.approx(-1)


def test_a_gait_that_sways_has_no_gain_over_next_to_nothing():
    swaying = figures([((0.2, 0.2, 0.29), (1.0, 1.0, -0.9))])
    assert swaying["velocity_gain"] is swaying["yaw_gain"] is None
    both = figures([((0.2, 0.2, 0.29), (1.0, 1.0, -0.9)), ((0.3, 0.0, -0.3), (0.15, 0.0, -0.3))])
    assert both["velocity_gain"] == pytest.approx(0.5)
    assert both["yaw_gain"] == pytest.approx(1.0)


@pytest.mark.parametrize(("speed", "overshoot"), [(0.5, 0.0), (0.4, 0.0), (0.6, 0.2), (0.75, 0.5)])
def test_overshoot_is_what_is_too_fast_once_it_has_settled(speed, overshoot):
    forward = (0.5, 0.0, 0.0)
    start = [(forward, (9.0, 0.0, 0.0))] * 75  # 1.5 s, in which nothing counts
    assert figures(start)["overshoot"] is None
    assert figures([*start, *[(forward, (speed, 1.0, 0.0))] * 50])["overshoot"] == pytest.approx(overshoot)


def test_overshoot_is_a_mean_of_commands_and_slow_ones_are_left_out():
    def walk(command, speed):
        return [((command, 0.0, 0.0), (speed, 0.0, 0.0))] * 100

    assert figures([*walk(0.5, 0.6), *walk(-0.5, -0.5)])["overshoot"] == pytest.approx(0.1)
    # Wobbling about the command is none, and being slow after one command does not make up for haste after another.
    assert figures([*walk(0.5, 0.6), *walk(-0.5, -0.3)])["overshoot"] == pytest.approx(0.1)
    assert figures([*walk(0.5, 0.6), *walk(0.1, 0.9)])["overshoot"] == pytest.approx(0.2)


def test_cost_of_transport_is_work_over_weight_times_way():
    ahead = ((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), 50.0, *STILL)
    assert figures([ahead] * 100)["cost_of_transport"] == pytest.approx(50 / (10 * 9.81 * 1.0))
    assert figures([ahead] * 20)["cost_of_transport"] is None  # 0.4 m: too little to tell


def test_foot_clearance_is_the_mean_of_the_swings_peaks():
    def step(*feet, command=(1.0, 0.0, 0.0)):
        """A foot's height, or None where it stands."""
        heights = [0.0 if foot is None else foot for foot in feet]
        forces = [30.0 if foot is None else 0.0 for foot in feet]
        return (command, (0.0, 0.0, 0.0), 0.0, heights, forces)

    swings = [
        step(None, None, None, None),
        step(0.02, None, None, None),
        step(0.05, None, None, 0.01),
        step(0.03, 0.5, None, None),  # the fourth foot flickered for one tick, the second will
        step(None, None, 0.01, None),
        step(None, None, 0.03, None),
        step(None, None, 0.02, None),
        step(None, None, None, None),
    ]
    assert figures(swings)["foot_clearance_m"] == pytest.approx((0.05 + 0.03) / 2)
    assert figures(swings[:4])["foot_clearance_m"] is None  # nobody has landed
    # Feet that have not stood yet, as after a start in the air, do not swing.
    assert figures(swings[2:5])["foot_clearance_m"] is None
    resting = [(((0.0,) * 3), *rest) for _, *rest in swings]
    assert figures(resting)["foot_clearance_m"] is None  # who should stand is not asked how high it steps

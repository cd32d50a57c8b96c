"""An audit finds what was planted, and nothing in a model that is sound."""

import numpy as np
import pytest
from knowing import DISCOUNT, SOUND, Faults, Knowing, drift_return

from robot_wm.errors import StoppedError, UserError
from robot_wm.inspect.audit import AuditPlan, audit, scalars, told
from robot_wm.inspect.findings import Limits
from robot_wm.inspect.world import World
from robot_wm.learning.agent import Agent


def test_a_model_that_knows_its_world_promises_what_comes(audited):
    found = audited(Knowing())
    assert found.findings == []
    compared = found.compared
    np.testing.assert_allclose(compared.imagined.returns[:, ~np.isnan(compared.real_returns[-1])],
                               compared.real_returns[:, ~np.isnan(compared.real_returns[-1])], atol=1e-5)  # fmt: skip
    assert abs(found.relative_gap) < 1e-5
    assert found.not_again == 0


def test_returns_are_those_of_the_closed_form(audited):
    compared = audited(Knowing()).compared
    for column, (lived, step) in enumerate(compared.states):
        at = lived.latents[step][0]
        for h in range(compared.horizon):
            assert compared.imagined.returns[h, column] == pytest.approx(drift_return(at, h + 1), abs=1e-5)
            if step + h < lived.steps:
                assert compared.real_returns[h, column] == pytest.approx(drift_return(at, h + 1), abs=1e-5)
            else:  # the time limit came first: nobody knows
                assert np.isnan(compared.real_returns[h, column])


def test_a_value_is_held_to_the_rewards_that_came_and_the_critics_word_for_the_rest(audited):
    compared = audited(Knowing()).compared
    np.testing.assert_allclose(compared.value, compared.real_value, atol=1e-5)
    for (lived, step), weight in zip(compared.states, compared.bootstrapped, strict=True):
        assert weight == pytest.approx(DISCOUNT ** (lived.steps - step))


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        pytest.param(Faults(reward_shift=0.2), {"gap", "reward"}, id="rewards learned too high"),
        pytest.param(Faults(reward_shift=-0.2), {"gap", "reward"}, id="rewards learned too low"),
        pytest.param(Faults(reward_lag=2), {"gap", "reward", "reward_error", "lag"}, id="rewards learned late"),
        pytest.param(Faults(gain=1.5), {"gap", "reward_error"}, id="a world that answers more than the real one"),
        pytest.param(Faults(goes_on=0.8), {"gap", "ends"}, id="ends that do not come"),
        pytest.param(Faults(value_factor=0.5), {"value"}, id="a critic that hopes"),
        pytest.param(Faults(blind=True), {"states", "resolution"}, id="a latent that holds nothing"),
    ],
)
def test_what_is_planted_is_found(audited, faults, found):
    names = {finding.name for finding in audited(Knowing(faults)).findings}
    assert found <= names
    assert "world" not in names


def test_a_world_that_changed_is_told_from_a_model_that_errs(audited):
    found = audited(Knowing(), changed={"gain": 0.05})
    assert {"world", "gap"} <= {finding.name for finding in found.findings}
    moved = [one for one in found.lived if one.start.step >= 1]
    assert moved
    assert all(one.deviates_from == 1 for one in moved)  # the reset is the same, the first action leads elsewhere
    assert found.not_again == len(moved)


def test_a_lag_is_told_in_steps(audited):
    texts = {finding.name: finding.text for finding in audited(Knowing(Faults(reward_lag=2))).findings}
    assert "as they come 2 steps earlier" in texts["lag"]


def test_a_limit_is_the_users(audited):
    agent = Knowing(Faults(reward_shift=0.01))
    assert audited(agent).findings == []
    strict = audited(agent, limits=Limits(gap=0.005))
    assert [finding.name for finding in strict.findings] == ["gap"]


def test_a_log_gets_what_was_found(audited):
    found = audited(Knowing(Faults(reward_shift=0.2)))
    values = scalars(found)
    assert values["reality/gap"] == pytest.approx(found.relative_gap)
    assert values["reality/findings"] == len(found.findings)
    assert values["reality/imagined_return"] > values["reality/real_return"]
    assert set(told(found)["findings"]) == {finding.name for finding in found.findings}


def test_it_stops_when_it_is_told_to(drift_store):
    with pytest.raises(StoppedError):
        audit(Knowing(), drift_store, World("gym:toy_envs:toys/Drift-v0", {}), AuditPlan(states=2), go_on=lambda: False)


def test_an_agent_without_a_model_is_refused(audited):
    class Reflex(Knowing):
        imagination = Agent.imagination

    with pytest.raises(UserError, match="'knowing' has no model"):
        audited(Reflex(SOUND))

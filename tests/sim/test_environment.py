"""A task's factory takes what the task takes, and what every environment takes."""

import pytest

from robot_wm.errors import UserError
from robot_wm.tasks import make_env
from robot_wm_sim.environment import environment
from robot_wm_sim.randomisation.ranges import load_randomisation
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.tasks.cartpole import CartpoleBalance, cartpole_balance


def test_options_go_to_the_task_or_to_its_environment():
    @environment
    def pole(*, observation: str = "proprio"):
        """A pole."""
        asked.append(observation)
        return CartpoleBalance(observation)

    asked = []
    model, worlds = SensorModel(action_latency_s=0.01), load_randomisation("mild")
    env = pole(observation="both", seed=3, backend="mujoco", sensor_model=model, randomisation=worlds)
    try:
        assert asked == ["both"]
        assert env.sim.name == "mujoco"
        assert env.sensor_model == model
        assert "friction" in env.randomisation_names
        first = env.reset()[0]["cart_position"]
        assert first == env.reset(seed=3)[0]["cart_position"]
    finally:
        env.close()
    assert (pole.__name__, pole.__doc__) == ("pole", "A pole.")


def test_what_neither_takes_is_refused_by_the_factorys_name():
    with pytest.raises(TypeError, match=r"cartpole_balance\(\) got an unexpected keyword argument 'colour'"):
        cartpole_balance(colour="red")
    with pytest.raises(UserError, match="task cartpole_balance: got an unexpected keyword argument 'colour'"):
        make_env("cartpole_balance", colour="red")


@pytest.mark.parametrize("option", ["sensor_model", "randomisation", "observation"])
def test_the_type_of_every_option_is_checked(option):
    with pytest.raises(UserError, match=f"task cartpole_balance: option {option}"):
        make_env("cartpole_balance", **{option: ["no", "such", "thing"]})

"""Actuator networks: fitted to a motor that is not ideal, run by both engines, saved and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rigs import RATE_HZ, SLIDER
from safetensors.numpy import load_file, save_file

from robot_wm.cli import run
from robot_wm.errors import UserError
from robot_wm.spec import JointLimits
from robot_wm_sim.actuators.actuator import Actuator, TorqueSpeedCurve
from robot_wm_sim.actuators.fitting import JointLog, fit_network
from robot_wm_sim.actuators.network import ActuatorNetwork, Settings
from robot_wm_sim.backend import load_backend
from robot_wm_sim.drive import Drive
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.scene import Scene

KP, KD, LIMIT = 60.0, 4.0, 20.0
# What the network is to find out: a drive late by 10 ms with a curve.
TRUE = Actuator(delay_s=0.01, torque_speed=TorqueSpeedCurve(corner_speed=0.2, no_load_speed=1.5))


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    """The block on a rail, with a drive of these gains and that actuator."""
    path = tmp_path_factory.mktemp("block") / "robot.urdf"
    path.write_text(SLIDER)

    def block(actuator, kp=KP):
        limits = JointLimits(effort=LIMIT, velocity=100.0)
        joint = Joint(name="slide", kp=kp, kd=KD, limits=limits, actuator=actuator)
        return Robot(name="test", description=path, joints=(joint,), firmware="none", fixed_base=True)

    return block


def targets(count, seed):
    """Set-points [count], m, each of them held for 10 to 60 steps or moved evenly to the next."""
    rng = np.random.default_rng(seed)
    corners = np.cumsum(rng.integers(10, 60, count // 10))
    values = rng.uniform(-0.4, 0.4, len(corners))
    steps = np.arange(count)
    held = values[np.searchsorted(corners, steps)]
    return np.where(steps // 500 % 2, np.interp(steps, corners, values), held)


def recorded(robot, wanted, backend="pybullet"):
    """Its JointLog under set-points [T], told one a step."""
    sim = load_backend(backend)(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    drive, rows = Drive.holding_home(robot), []
    for target in wanted:
        drive.position[:] = target
        before = sim.state.joint_position[0], sim.state.joint_velocity[0]
        sim.run(drive, 1)
        rows.append((target, *before, sim.state.joint_effort[0]))
    sim.close()
    target, position, velocity, effort = np.array(rows).T[:, :, None]
    return JointLog(rate_hz=RATE_HZ, kp=KP, kd=KD, target=target, position=position, velocity=velocity, effort=effort)


@pytest.fixture(scope="module")
def fitted(block):
    """A network of the true motor."""
    return fit_network(recorded(block(TRUE), targets(12000, 0)), hidden=(32, 32), updates=1500)


def test_a_fit_tells_efforts_better_than_the_drives_equation(fitted):
    figures = fitted.settings.figures
    assert figures["rms"] < 0.3 * figures["rms_ideal"]
    assert figures["rms_ideal"] > 0.3 * figures["rms_effort"]  # there was something to find out


def test_a_network_moves_the_joint_as_the_true_motor_did(block, fitted, backend):
    """Set-points that it has not seen; half a second at a time, in the loop with its own motion."""
    true, ideal, learned = (
        recorded(block(actuator), targets(250, 9), backend) for actuator in (TRUE, Actuator(), Actuator(network=fitted))
    )
    errors = [float(np.sqrt(np.mean((log.position - true.position) ** 2))) for log in (ideal, learned)]
    assert errors[1] < 0.3 * errors[0]


def test_both_engines_run_one_network_and_keep_its_history_in_snapshots(block, fitted):
    """Within 1e-9 m of each other; what follows a snapshot follows it again."""
    robot, found = block(Actuator(network=fitted, delay_s=0.006)), {}
    for backend in ("pybullet", "mujoco"):
        sim = load_backend(backend)(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
        drive, trace = Drive.holding_home(robot), []
        for tick, target in enumerate((0.3, -0.2, 0.1, 0.4)):
            if tick == 2:
                middle = sim.save()
            drive.position[:] = target
            sim.run(drive, 20)
            trace.append(sim.state.block.copy())
        sim.restore(middle)
        for row, target in zip(trace[2:], (0.1, 0.4), strict=True):
            drive.position[:] = target
            sim.run(drive, 20)
            np.testing.assert_array_equal(sim.state.block, row)
        found[backend] = np.array(trace)
        sim.close()
    np.testing.assert_allclose(found["mujoco"], found["pybullet"], atol=1e-9)


def by_hand(lags=(0.0, 0.004), kp=10.0, **settings):
    """3 * softsign(2 * error now - error 4 ms ago + 0.5 * velocity 4 ms ago) + 1."""
    layers = (
        (np.array([[2.0, -1.0, 0.0, 0.5]]), np.array([0.0])),
        (np.array([[3.0]]), np.array([1.0])),
    )
    return ActuatorNetwork(Settings(lags_s=lags, kp=kp, layers=2, **settings), layers)


def test_inputs_are_of_the_moments_that_they_say(block, backend):
    """Step by step against the formula in plain Python; at another kp it gives in proportion, on top of the effort."""
    robot = block(Actuator(network=by_hand()), kp=5.0)
    sim = load_backend(backend)(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    sim.place(joint_position=np.array([0.1]), joint_velocity=np.array([0.7]))
    drive, seen = Drive.holding_home(robot), []
    drive.effort[:] = 0.25
    for step in range(8):
        drive.position[:] = 0.3 * step
        seen.append((0.3 * step - sim.state.joint_position[0], sim.state.joint_velocity[0]))
        sim.run(drive, 1)
        before = seen[max(0, step - 2)]
        x = 2.0 * seen[-1][0] - before[0] + 0.5 * before[1]
        assert sim.state.joint_effort[0] == pytest.approx(0.25 + 0.5 * (3.0 * x / (1.0 + abs(x)) + 1.0), abs=1e-9)
    speeds = []
    for _ in range(3):
        speeds.append(sim.state.joint_velocity[0])
        sim.run(Drive.braking(robot), 1)
        assert sim.state.joint_effort[0] == pytest.approx(-KD * speeds[-1], abs=1e-9)  # its equation, no network
    x = 2.0 * (drive.position[0] - sim.state.joint_position[0]) - 0.0 + 0.5 * speeds[-2]  # braking, there is no error
    sim.run(drive, 1)
    assert sim.state.joint_effort[0] == pytest.approx(0.25 + 0.5 * (3.0 * x / (1.0 + abs(x)) + 1.0), abs=1e-9)
    sim.close()


def test_the_numpy_network_is_torch_s():
    rng = np.random.default_rng(0)
    layers = tuple((rng.normal(size=(o, i)), rng.normal(size=o)) for i, o in ((6, 5), (5, 4), (4, 1)))
    network = ActuatorNetwork(Settings(lags_s=(0.0, 0.01, 0.02), kp=1.0, layers=3), layers)
    errors, velocities = rng.normal(size=(2, 3, 7))
    x = torch.from_numpy(np.concatenate([errors, velocities]).T)
    for number, (weight, bias) in enumerate(layers):
        x = x @ torch.from_numpy(weight).T + torch.from_numpy(bias)
        x = torch.nn.functional.softsign(x) if number < 2 else x
    np.testing.assert_allclose(network.effort(errors, velocities), x[:, 0].numpy(), rtol=1e-12)


def test_what_is_saved_is_loaded(tmp_path):
    network = by_hand(figures={"rms": 0.5})
    network.save(tmp_path / "net")
    network.save(tmp_path / "net")  # in its place
    loaded = ActuatorNetwork.load(tmp_path / "net")
    assert loaded.settings == network.settings
    for mine, other in zip(network.layers, loaded.layers, strict=True):
        for part, same in zip(mine, other, strict=True):
            np.testing.assert_array_equal(part, same)


def broken(folder, *, settings=None, drop=None, tensors=None):
    """Change a saved network."""
    path, arrays = folder / "network.json", load_file(folder / "network.safetensors")
    path.write_text(json.dumps(json.loads(path.read_text()) | (settings or {})))
    arrays |= tensors or {}
    arrays.pop(drop, None)
    save_file(arrays, folder / "network.safetensors")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"settings": {"version": 2}}, "network.json: version"),
        ({"settings": {"kp": 0.0}}, "network.json: kp"),
        ({"settings": {"lags": [0.0]}}, "network.json: lags"),
        ({"settings": {"lags_s": [0.0, 0.02, 0.01]}}, r"net: actuator network: lags_s is \(0.0, 0.02, 0.01\), s, but"),
        ({"settings": {"lags_s": [0.01, 0.02]}}, r"lags_s is \(0.01, 0.02\), s, but must rise from 0"),
        ({"settings": {"lags_s": [0.0]}}, r"layer 0 has weights \(1, 4\) and biases \(1,\), but gets 2 inputs"),
        ({"settings": {"layers": 1}}, "has tensors that network.json does not tell of: 1.bias, 1.weight"),
        ({"drop": "1.bias"}, "network.safetensors: has no tensor '1.bias'"),
        ({"tensors": {"1.weight": np.array([[np.nan]])}}, "layer 1 has weights that are not finite"),
        ({"tensors": {"1.weight": np.ones((2, 1)), "1.bias": np.ones(2)}}, "2 layers give 2 numbers, but must give an"),
    ],
)
def test_a_network_that_cannot_be_is_refused(tmp_path, change, line):
    by_hand().save(tmp_path / "net")
    broken(tmp_path / "net", **change)
    with pytest.raises(UserError, match=line):
        ActuatorNetwork.load(tmp_path / "net")


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"network.json: cannot be read"):
        ActuatorNetwork.load(tmp_path)
    by_hand().save(tmp_path / "net")
    (tmp_path / "net" / "network.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"network.safetensors: cannot be read"):
        ActuatorNetwork.load(tmp_path / "net")


def test_the_command_fits_a_log(tmp_path, block, capsys):
    log = recorded(block(TRUE), targets(1500, 0))
    np.savez(tmp_path / "log.npz", **vars(log))
    out = tmp_path / "net"
    line = ["robot", "fit-actuator", str(tmp_path / "log.npz"), "--out", str(out), "--updates", "20", "--json"]
    assert run(line) == 0
    told = json.loads(capsys.readouterr().out)
    network = ActuatorNetwork.load(out)
    assert told == {"network": str(out), "samples": 1500, **network.settings.figures}
    assert (network.settings.kp, network.settings.lags_s) == (KP, (0.0, 0.01, 0.02))


def test_logs_that_cannot_be_are_refused(tmp_path, block):
    log = recorded(block(Actuator()), targets(50, 0))
    for change, line in (
        ({"kp": 0.0}, "joint log: kp is 0.0, but must be finite and at least"),
        ({"effort": log.effort[:-1]}, r"joint log: effort is \(49, 1\), but must be \[T, M\] as target, \(50, 1\)"),
        ({"velocity": np.full((50, 1), np.inf)}, "joint log: velocity has numbers that are not finite"),
    ):
        with pytest.raises(UserError, match=line):
            replace(log, **change)
    for lags in ((0.02, 0.0), (), (0.0, float("nan")), (0.0, 2.0)):
        with pytest.raises(UserError, match=r"lags_s is .*, s, but must rise from 0 to at most 1"):
            fit_network(log, lags_s=lags)
    with pytest.raises(UserError, match="has 50 samples, which are too few for lags of 100"):
        fit_network(log, lags_s=(0.0, 0.2))
    np.savez(tmp_path / "log.npz", target=log.target)
    (tmp_path / "text.npz").write_text("no archive")
    for name, line in (
        ("log.npz", "rate_hz is not a file in the archive"),
        ("text.npz", "is no archive"),
        ("no.npz", "No such"),
    ):
        with pytest.raises(UserError, match=line):
            JointLog.load(tmp_path / name)

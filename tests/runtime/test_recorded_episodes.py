"""What a controller did on a simulated robot, recorded and imported, is bit for bit what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recorder_ticks import BEGIN_NS, SHA

from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env


def drive(agent, env, folder: Path, *, ticks: int, faulty: dict[int, str]) -> tuple[list, list, TickRecorder]:
    """Run a controller over a simulated robot and record it: observations, commands and whether each was followed."""
    period_s = agent.manifest.spec.control_period_s
    seen, commands = [], []
    recorder = TickRecorder(folder, agent.manifest.spec, bundle_sha256=SHA)
    with Controller(agent, config=SafetyConfig(soft_start_s=0.1, hold_s=0.1, recover_ticks=2)) as controller:
        controller.enable()
        observation, _ = env.reset(seed=3)
        for k in range(ticks):
            observation = {name: np.array(value) for name, value in observation.items()}
            if k in faulty:
                observation[faulty[k]] = np.full_like(observation[faulty[k]], np.nan)
            command = controller.step(observation, k * period_s)
            stamp_ns = BEGIN_NS + round(k * period_s * 1e9)
            assert recorder.add(
                observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns + 100, publish_ns=stamp_ns + 200
            )
            seen.append(observation)
            commands.append((command.command.copy(), not command.fault_bits and not command.damp))
            observation, *_ = env.step(command.command.copy())
    recorder.close()
    return seen, commands, recorder


def check_episodes(spec: AgentSpec, seen: list, commands: list, found: list, starts: list[tuple[int, int]]) -> None:
    assert [episode.length for episode in found] == [b - a for a, b in starts]
    for episode, (a, b) in zip(found, starts, strict=True):
        assert all(followed for _, followed in commands[a:b])
        action = np.stack([command for command, _ in commands[a:b]])
        action[-1] = 0
        np.testing.assert_array_equal(episode.action, action)
        for field in spec.observations:
            if field.source != "last_action":
                np.testing.assert_array_equal(episode.obs[field.name], [frame[field.name] for frame in seen[a:b]])
        assert not episode.reward.any()
        assert not episode.is_terminal.any()
        source = episode.source
        assert (source.kind, source.task, source.robot, source.policy) == ("robot", spec.task, spec.robot, SHA)


def test_a_driven_simulated_robot_becomes_episodes_bit_for_bit(tmp_path, make_agent):
    with make_env("cartpole_balance", seed=0) as env:
        spec = agent_spec(env)
        first = spec.observations[0].name
        seen, commands, recorder = drive(
            make_agent(spec), env, tmp_path / "out", ticks=120, faulty={40: first, 80: first, 81: first}
        )
    store = EpisodeStore.create(tmp_path / "store", spec)
    result = import_recording(recorder.path, store.path)
    store.refresh()
    followed = np.array([follows for _, follows in commands])
    assert np.flatnonzero(~followed).tolist() == [40, 80, 81]
    check_episodes(spec, seen, commands, list(store.episodes()), [(0, 40), (41, 80), (82, 120)])
    assert (result.ticks, result.episodes, result.steps, result.added) == (120, 3, 117, 3)
    assert (result.runs.not_driven, result.runs.missing) == (3, 0)


def test_the_last_action_of_an_episode_is_what_the_model_was_told(tmp_path, make_spec, make_agent):
    """The stand-in's surprise is the sum of |state/action|: what the controller wrote back as executed."""

    class Still:
        """A robot that stays where it is."""

        def reset(self, *, seed):
            return {"joint_position": np.float32([0.1, 0.2]), "gyro": np.float32([0, 0, seed])}, {}

        def step(self, command):
            return self.reset(seed=1)[0], 0.0, False, False, {}

    spec = make_spec()
    seen, commands, recorder = drive(make_agent(spec), Still(), tmp_path / "out", ticks=40, faulty={20: "gyro"})
    import_recording(recorder.path, tmp_path / "store")
    found = list(EpisodeStore.open(tmp_path / "store").episodes())
    # The first sound tick says where the arm is, from there on it follows: so no tick but the faulty one is left out.
    check_episodes(spec, seen, commands, found, [(0, 20), (21, 40)])
    for episode, begin in zip(found, (0, 21), strict=True):
        rest = np.float32([0.1, 0.8])  # the offset: the zero action's command
        before = [rest] + [command for command, _ in commands[begin : begin + episode.length - 1]]
        np.testing.assert_array_equal(episode.obs["last_action"], before)

"""An actor that keeps to the clock, while its learner does not."""

import threading

from robot_wm.training.loop import Trainer


def test_an_actor_in_its_own_process_is_not_stalled_by_a_learner_that_hangs(tiny):
    # A real-time actor keeps collecting while the learner sits in one long round.
    # Six seconds of steps, so that the first update is there before the last of them on a busy machine, too.
    config = tiny(steps=300, actor="process", realtime=True, envs=1, prefill_steps=20)
    trainer = Trainer(config)
    arrived = []

    def hang(running: Trainer) -> None:
        if running.state.env_steps:  # the process is up
            arrived.append(running.state.env_steps)
        if len(arrived) == 5:
            threading.Event().wait(1.0)

    state = trainer.train(hang)
    # 1 s at 50 Hz: the steps taken meanwhile all arrive in the round after the hang.
    assert arrived[5] - arrived[4] >= 20
    assert state.env_steps >= 300
    assert state.updates > 0
    episodes = list(trainer.store.episodes())
    assert {episode.source.policy for episode in episodes} - {"random", "0"}, (
        "the actor never got the learner's weights"
    )

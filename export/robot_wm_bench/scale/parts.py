"""What the parts of a run take on this machine: the real ones, in processor time.

Processor time, because others may use the machine meanwhile; what is calculated from it says how many cores it takes.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from robot_wm.training.config import TrainConfig
from robot_wm_bench.scale.law import ROUNDS, Parts
from robot_wm_bench.scale.wire import Wire

if TYPE_CHECKING:
    from robot_wm.training.transition import Transition

_WARM_UP = 3  # calls before those that count
_FEWEST = 5
_IDLE_S = 4.0  # processor time is told in hundredths of a second
_LEAST_S = 1e-9  # of what is left where two figures are as good as equal


def measure_parts(config: TrainConfig, seconds: float, *, update_s: float | None = None) -> Parts:
    """Figures of the run that ``config`` asks for and of one of its collectors, in about ``seconds``.

    An update is measured, too, unless ``update_s`` says what it takes elsewhere.
    """
    from robot_wm.training.actor import Actor
    from robot_wm.training.cluster import weights
    from robot_wm.training.cluster.orders import Steps
    from robot_wm.training.collector import Stepper
    from robot_wm.training.env_pool import EnvPool
    from robot_wm.training.loop import Trainer
    from robot_wm.training.random_actions import RandomActions
    from robot_wm.training.updates import ReplayedUpdates, Spent

    each_s, idle_s, settings = seconds / 10, min(_IDLE_S, seconds / 2), config.settings
    steps_per_update = settings.batch_size * settings.batch_length / config.train_ratio
    alone = config.model_copy(update={"actor": "inline", "collectors": 1, "ray_address": None, "processes": 0})
    trainer = Trainer(alone)
    with ExitStack() as undo:
        pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=0, seed=config.seed)
        undo.callback(pool.close)
        undo.callback(trainer.experience.close)
        random_actions = RandomActions.told(config, trainer.spec)
        actor = Actor(trainer.agent, trainer.spec, envs=config.envs, seed=config.seed, random_actions=random_actions)
        stepper = Stepper(pool, actor)
        mixture = trainer.sources.mixture
        updates = ReplayedUpdates(trainer.learner, mixture, Spent(), settings.batch_size)
        rounds: deque[Transition] = deque(maxlen=ROUNDS)

        def play(clock: _Clock) -> None:
            with clock.part("round"):  # a reset now and then is part of it
                rounds.append(stepper.step(policy="0", random=False))
            with clock.part("act"):
                actor.act(rounds[-1].obs, rounds[-1].is_first)
            with clock.part("insert"):
                trainer.experience.add(rounds[-1])

        for _ in range(max(ROUNDS, settings.batch_length + 2)):  # more than a window of every stream
            play(_Clock())
        # As a run does it, in turns: an episode that ends is stored as often as one ends. A batch is drawn at least
        # once an order, however few updates the run has.
        clock, earned = _Clock(), 0.0
        while not clock.enough(6 * each_s):
            play(clock)
            earned += max(config.envs / steps_per_update, 1.0 / ROUNDS)
            while earned >= 1.0:
                earned -= 1.0
                with clock.part("sample"):
                    mixture.sample(settings.batch_size)
                if update_s is None:
                    with clock.part("update"):
                        updates.run(1)
        round_s, act_s, insert_s, sample_s = map(clock.mean_s, ("round", "act", "insert", "sample"))
        if update_s is None:
            update_s = max(clock.mean_s("update") - sample_s, _LEAST_S)
        told = weights.encode(trainer.agent)
        publish_s = _mean_s(lambda: weights.encode(trainer.agent), each_s)
        load_s = _mean_s(lambda: weights.load(trainer.agent, told), each_s)
        wire = undo.enter_context(Wire())
        answer = Steps([*rounds], actor.rng_state().numpy())
        encode_s = _mean_s(lambda: wire.put(answer), each_s) / ROUNDS
        stored = wire.put(answer)
        decode_s = _mean_s(lambda: wire.get(stored), each_s) / ROUNDS
        cluster_cores = wire.idle_cores(idle_s)
        call_s, with_one_cores = wire.call_s(answer, each_s, idle_s)
        round_bytes = wire.size(answer) / ROUNDS
    return Parts(
        envs=config.envs,
        simulate_s=max(round_s - act_s, _LEAST_S),
        act_s=act_s,
        encode_s=encode_s,
        decode_s=decode_s,
        insert_s=insert_s,
        call_s=max(call_s - ROUNDS * (encode_s + decode_s), _LEAST_S),
        cluster_cores=cluster_cores,
        collector_cores=max(with_one_cores - cluster_cores, 0.0),
        sample_s=sample_s,
        update_s=update_s,
        publish_s=publish_s,
        load_s=load_s,
        round_bytes=round_bytes,
        weights_bytes=float(len(told)),
        steps_per_update=steps_per_update,
    )


class _Clock:
    """Processor time of this process, with all of its threads, by what it was spent on."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._times: Counter[str] = Counter()
        self._begun = time.monotonic()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done in it as ``name``, once."""
        before = time.process_time()
        yield
        self._spent[name] = self._spent.get(name, 0.0) + time.process_time() - before
        self._times[name] += 1

    def enough(self, seconds: float) -> bool:
        """Whether so much time has passed, and a batch was drawn often enough."""
        return time.monotonic() >= self._begun + seconds and self._times["sample"] >= _FEWEST

    def mean_s(self, name: str) -> float:
        """Seconds of one."""
        return self._spent[name] / self._times[name]


def _mean_s(call: Callable[[], object], seconds: float) -> float:
    """Mean processor time of a call, of this process with all of its threads."""
    for _ in range(_WARM_UP):
        call()
    begun, before_s, calls = time.monotonic(), time.process_time(), 0
    while calls < _FEWEST or time.monotonic() < begun + seconds:
        call()
        calls += 1
    return (time.process_time() - before_s) / calls

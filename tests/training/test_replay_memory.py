"""The replay takes no more memory than there is, and says what it would take."""

import pytest

from robot_wm.errors import UserError
from robot_wm.replay.rings import ring_bytes_per_step
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.stored import Stored
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm.training import checkpoint, replay_memory
from robot_wm.training.loop import Trainer
from robot_wm.training.replay_memory import MOST_STEPS, free_bytes, replay_capacity

GIB = 2**30


@pytest.fixture
def spec():
    """CarRacing's picture: 27 KiB a step."""
    return AgentSpec(
        task="gym:gymnasium:CarRacing-v3",
        robot="car",
        control_rate_hz=50,
        physics_rate_hz=50,
        observations=(ObservationField(name="image", shape=(96, 96, 3), dtype="uint8", unit="1"),),
        action=ActionSpec(mode="effort", joints=("a", "b", "c"), unit="1"),
        firmware=FirmwareProfile(name="toy"),
    )


# As an agent of 32 + 4 keeps them.
STORED = (
    Stored(name="deter", shape=(32,), dtype="float16", use="context"),
    Stored(name="stoch", shape=(4,), dtype="uint8", use="context"),
)


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory is free, GiB."""
    return lambda gib: monkeypatch.setattr(replay_memory, "free_bytes", lambda: int(gib * GIB))


def test_by_default_as_many_steps_as_fit_a_quarter_of_the_free_memory(spec, tiny, free):
    config = tiny(replay_capacity_steps=None)
    free(16)
    steps = replay_capacity(config, spec, STORED)
    each = ring_bytes_per_step(spec, STORED)
    assert steps == pytest.approx(4 * GIB / each, abs=1)
    assert 100_000 < steps < 160_000
    free(4000)
    assert replay_capacity(config, spec, STORED) == MOST_STEPS


def test_what_a_step_takes_is_what_the_rings_take(spec):
    rings = SequenceSampler(spec, capacity_steps=30, length=4, stored=STORED)._rings
    assert sum(rows.nbytes for rows in rings.rows.values()) == 30 * ring_bytes_per_step(spec, STORED)


def test_what_does_not_fit_is_one_line_with_steps_and_gib(spec, tiny, free):
    free(16)
    told = r"replay_capacity_steps 1000000: 25\.8 GiB at 27\.1 KiB a step, but 16\.0 GiB .* free; take 15\d{4} or fewer"
    with pytest.raises(UserError, match=told):
        replay_capacity(tiny(replay_capacity_steps=1_000_000), spec, STORED)
    assert replay_capacity(tiny(replay_capacity_steps=500_000), spec, STORED) == 500_000
    free(0.0001)
    with pytest.raises(UserError, match=r"replay_capacity_steps 18: .* not even a window of each environment fits"):
        replay_capacity(tiny(replay_capacity_steps=None), spec, STORED)


def test_a_run_refuses_before_it_allocates(tiny):
    config = tiny(replay_capacity_steps=10**15)
    with pytest.raises(UserError, match=r"replay_capacity_steps 1000000000000000: .* GiB at"):
        Trainer(config)
    assert not (config.folder / "replay").exists()


def test_a_resume_keeps_the_capacity_that_the_run_began_with(tiny, free):
    config = tiny(steps=20, replay_capacity_steps=None)
    free(0.01)
    trainer = Trainer(config)
    trainer.train()
    began_with = trainer.sampler.capacity_steps
    assert began_with < MOST_STEPS
    saved = checkpoint.read_state(checkpoint.latest_path(config.folder)).config
    assert saved.replay_capacity_steps // 2 * 2 == began_with
    free(4000)
    assert Trainer(config, resume=True).sampler.capacity_steps == began_with


def test_the_limits_of_containers_and_services_count(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 9\nMemAvailable:   8388608 kB\n",
        "/proc/self/cgroup": "4:cpu:/x\n3:memory:/job/1\n0::/service\n",
        "/sys/fs/cgroup/service/memory.max": "max\n",
        "/sys/fs/cgroup/memory.max": "3221225472\n",
        "/sys/fs/cgroup/memory.current": "2147483648\n",
        "/sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 536870912\n",
        "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "6442450944\n",
        "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "0\n",
    }
    monkeypatch.setattr(replay_memory, "_text", lambda path: files.get(str(path), ""))
    assert free_bytes() == 1.5 * GIB
    del files["/sys/fs/cgroup/memory.max"]
    assert free_bytes() == 6 * GIB
    files["/proc/self/cgroup"] = ""
    assert free_bytes() == 8 * GIB
    files["/proc/meminfo"] = ""  # another system
    assert free_bytes() > GIB / 4

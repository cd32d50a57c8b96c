"""The worker's protocol, and one clear line whatever becomes of EnergyPlus: planted workers, no EnergyPlus."""

import sys

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_worlds.cooling.engine import Engine, model_text
from robot_wm_worlds.cooling.plant import SCHEDULES, VARIABLES

HEAD = f"""
import json, os, sys, time
from multiprocessing.connection import Connection
import numpy as np
pipe = Connection(int(sys.argv[1]))
run = json.loads(pipe.recv_bytes())
def reading(**changed):
    values = np.full({len(VARIABLES)}, 20.0)
    for index, value in changed.items():
        values[int(index[1:])] = value
    return b"r" + values.tobytes()
def told():
    return np.frombuffer(pipe.recv_bytes())
first = told()
"""
VALUES = np.arange(float(len(SCHEDULES)))


@pytest.fixture
def engine_of(tmp_path):
    """An engine whose worker has this body, once it was told the run and the first values."""
    weather, made = tmp_path / "any.epw", []
    weather.touch()

    def make(body: str, patience_s: float = 30.0) -> Engine:
        script = tmp_path / "worker.py"
        script.write_text(HEAD + body)
        made.append(Engine((sys.executable, str(script)), patience_s=patience_s, weather=weather))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def _start(engine):
    return engine.start("chicago", first_day=0, days=1, values=VALUES)


def _last_words(engine):
    """What is raised by the start or by the step after it."""

    def two_steps():
        _start(engine)
        engine.advance(VALUES)

    with pytest.raises(UserError) as caught:
        two_steps()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_reach_the_worker_and_readings_come_back(engine_of):
    engine = engine_of("pipe.send_bytes(reading(_0=first.sum()))\nwhile True: pipe.send_bytes(reading(_0=told()[3]))")
    assert _start(engine).outdoor_c[0] == VALUES.sum()
    assert engine.advance(VALUES + 1.0).outdoor_c[0] == 4.0
    assert engine.advance(VALUES).outdoor_c[0] == 3.0


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("os._exit(3)", "EnergyPlus: its process ended with code 3"),
        ("pipe.send_bytes(reading()); told(); os.kill(os.getpid(), 9)", "EnergyPlus: its process ended with signal 9"),
        ("pipe.send_bytes(b'fit broke')", "EnergyPlus: it broke"),
        ("pipe.send_bytes(b'r123')", "EnergyPlus: what it answers is no reading"),
        ("pipe.send_bytes(b'r' + bytes(16))", "EnergyPlus: what it answers is no reading"),
        (
            "pipe.send_bytes(reading(_15=float('nan')))",
            "EnergyPlus: it has diverged: Chiller Electricity Rate of Chiller is no number",
        ),
        ("pipe.send_bytes(reading(_3=400.0))", "EnergyPlus: it has diverged: the halls are at [20.0, 400.0] °C"),
    ],
)
def test_whatever_becomes_of_it_is_one_line(engine_of, body, line):
    assert _last_words(engine_of(body)) == line


def test_silence_is_told_after_the_patience(engine_of):
    assert _last_words(engine_of("time.sleep(60)", patience_s=0.3)) == "EnergyPlus: it has been silent for 0.3 s"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "** Severe  ** first\n   ** Warning ** hot\n   **  Fatal  ** Temperature out of bounds\n",
            ": Temperature out of bounds",
        ),
        ("** Severe  ** No such curve\n   ** Warning ** hot\n", ": No such curve"),
        ("   ** Warning ** hot\n", ""),
    ],
)
def test_the_last_severe_line_of_its_log_is_the_reason(engine_of, log, reason):
    body = f'with open(os.path.join(run["folder"], "eplusout.err"), "w") as file: file.write({log!r})\nos._exit(1)'
    assert _last_words(engine_of(body)) == f"EnergyPlus: its process ended with code 1{reason}"


def test_after_a_failure_it_wants_a_reset_and_can_start_again(engine_of):
    engine = engine_of("pipe.send_bytes(reading()); told(); os._exit(1)")
    _last_words(engine)
    with pytest.raises(UserError, match="reset the environment"):
        engine.advance(VALUES)
    assert _start(engine).outdoor_c[0] == 20.0


def test_closing_ends_the_worker_and_removes_its_folder(engine_of, tmp_path):
    told = tmp_path / "told"
    engine = engine_of(f"open({str(told)!r}, 'w').write(run['folder']); pipe.send_bytes(reading()); time.sleep(600)")
    _start(engine)
    process, folder = engine._process, told.read_text()
    engine.close()
    assert process is not None
    assert process.returncode == -9
    import os

    assert not os.path.exists(folder)


def test_run_periods_are_within_a_year():
    assert "RunPeriod, Run, 12, 30, 2017, 12, 31, 2017," in model_text(363, 2)
    with pytest.raises(UserError, match="2 days from day 364 on are not within a year"):
        model_text(364, 2)

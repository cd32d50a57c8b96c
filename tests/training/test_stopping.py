"""What a signal does to a run that computes, and to one that waits for a simulator."""

import signal
import time

import pytest

from robot_wm.errors import StoppedError
from robot_wm.training import stopping
from robot_wm.training.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_a_second_ctrl_c_interrupts(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        signal.raise_signal(signal.SIGTERM)  # schedulers tell it twice
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("told", ["before", "within"])
def test_what_waits_for_a_simulator_is_left_some_time_after_a_request(monkeypatch, told):
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.05)
    alarm = signal.getsignal(signal.SIGALRM)

    def wait(stop: StopRequest) -> None:
        with stop.bounded():
            if told == "within":
                signal.raise_signal(signal.SIGTERM)
            time.sleep(60)

    with StopRequest() as stop:
        if told == "before":
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match=r"0\.05 s later"):
            wait(stop)
        assert signal.getsignal(signal.SIGALRM) is alarm
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_returns_in_time_and_what_must_be_finished_go_on(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.01)
    with StopRequest() as stop:
        with stop.bounded():
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.05)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_simulator_has_taken_is_taken_back(number):
    """As engines and middleware do that install handlers of their own."""
    before = signal.getsignal(number)
    with StopRequest() as stop:
        signal.signal(number, signal.SIG_IGN)
        assert not stop.heard()
        signal.raise_signal(number)
        assert stop.heard()
    assert signal.getsignal(number) == before

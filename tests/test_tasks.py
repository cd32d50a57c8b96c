"""A task's options come as text or YAML and reach its factory as the types that it declares."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from robot_wm import plugins, tasks
from robot_wm.errors import UserError
from robot_wm.tasks import make_env, parse_options


def declared(
    *,
    seed: int = 0,
    render_mode: str | None = None,
    repeat: int = 1,
    rate_hz: float | None = None,
    command: str = "",
    **others: object,
) -> dict[str, object]:
    return {"repeat": repeat, "rate_hz": rate_hz, "command": command, **others}


def unresolvable(*, seed: int, render_mode: str | None, repeat: Nowhere) -> object:  # noqa: F821
    return repeat


@pytest.fixture
def factory(monkeypatch):
    def choose(function):
        entry = EntryPoint(name="here", group=tasks.GROUP, value="nowhere:nothing")
        monkeypatch.setattr(EntryPoint, "load", lambda self: function)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])

    return choose


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"repeat": "1e1"}, {"repeat": 10}),
        ({"rate_hz": "5e1"}, {"rate_hz": 50.0}),
        ({"rate_hz": "20"}, {"rate_hz": 20.0}),
        ({"rate_hz": "~"}, {"rate_hz": None}),
        ({"command": "0.5"}, {"command": "0.5"}),
        ({"command": "0.5,0,0"}, {"command": "0.5,0,0"}),
        ({"extra": "1e2"}, {"extra": 100.0}),
    ],
)
def test_an_option_has_the_type_that_the_factory_declares(factory, given, wanted):
    factory(declared)
    made = make_env("here", **parse_options(given))
    for name, value in wanted.items():
        assert made[name] == value
        assert type(made[name]) is type(value)


@pytest.mark.parametrize("value", ["ten", "1.5", "[1]", "{a: 1}"])
def test_an_option_of_another_type_is_refused_by_its_name(factory, value):
    factory(declared)
    with pytest.raises(UserError, match=r"^task here: option repeat: .*integer"):
        make_env("here", **parse_options({"repeat": value}))


def test_a_factory_whose_hints_mean_nothing_gets_what_was_given(factory):
    factory(unresolvable)
    assert make_env("here", repeat="x") == "x"


def test_an_option_that_is_no_yaml_is_refused_by_its_name():
    with pytest.raises(UserError, match=r"^option x: line 1"):
        parse_options({"x": "["})


def test_an_option_may_be_spelt_as_a_flag_is_but_not_twice():
    assert parse_options({"time-limit": "7", "action_repeat": "2"}) == {"time_limit": 7, "action_repeat": 2}
    with pytest.raises(UserError, match=r"^option time_limit: is given twice, with - and with _$"):
        parse_options({"time-limit": "7", "time_limit": "8"})

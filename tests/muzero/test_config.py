"""Sizes, what follows from others, and refusals."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from robot_wm.muzero.config import SIZES, MuZeroConfig


@pytest.mark.parametrize("size", SIZES)
def test_size_fills_the_widths_and_round_trips(size):
    config = MuZeroConfig(size=size)
    assert {name: getattr(config, name) for name in SIZES[size]} == dict(SIZES[size])
    assert MuZeroConfig.model_validate_json(config.model_dump_json()) == config


def test_given_width_beats_the_size():
    config = MuZeroConfig(size="nano", units=96)
    assert (config.units, config.latent) == (96, 64)


@pytest.mark.parametrize(
    ("given", "length"), [({}, 11), ({"unroll": 3}, 9), ({"td_steps": 1}, 7), ({"unroll": "7", "td_steps": 10}, 18)]
)
def test_a_sequence_is_as_long_as_unroll_and_bootstrap_and_the_step_that_the_bootstrap_is_of(given, length):
    assert MuZeroConfig(**given).batch_length == length
    assert MuZeroConfig(**given, batch_length=length).batch_length == length


def test_a_run_of_an_older_version_goes_on_with_its_windows():
    assert MuZeroConfig(batch_length=10).batch_length == 10


def test_fewer_simulations_than_candidates_are_taken():
    assert MuZeroConfig(num_simulations=2).root_actions == 16


@pytest.mark.parametrize(
    ("fields", "naming"),
    [
        ({"unroll": 0}, "unroll\n.*greater than or equal to 1"),
        ({"td_steps": 0}, "td_steps\n.*greater than or equal to 1"),
        ({"unroll": "many"}, "unroll\n.*valid integer"),
        ({"batch_length": 64}, "batch_length 64 must be unroll 5 [+] td_steps 5 [+] 1 = 11"),
        ({"batch_length": 12}, "batch_length 12 must be"),
        ({"batch_length": 9}, "batch_length 9 must be"),
        ({"latent": 100}, "latent 100 is not a multiple of simplex 8"),
        ({"bins": 100}, "bins 100 .* must be odd"),
        ({"image_kernel": 4}, "image_kernel 4 must be odd"),
        ({"min_std": 2.0}, "min_std 2 exceeds max_std 1"),
        ({"root_policy": 17}, "root_policy 17 exceeds the root_actions 16"),
        ({"discount": 1.0}, "discount\n.*less than 1"),
        ({"size": "12m"}, "size\n"),
        ({"widths": 3}, "widths\n"),
    ],
)
def test_bad_settings_are_refused_by_name(fields, naming):
    with pytest.raises(ValidationError, match=naming):
        MuZeroConfig(**fields)


def test_kind_and_config_need_no_torch():
    code = "import sys, robot_wm.muzero.kind; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

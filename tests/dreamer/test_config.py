"""Sizes, overrides and refusals."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import SIZES, DreamerConfig
from robot_wm.errors import UserError
from robot_wm.spec import InputShape


@pytest.mark.parametrize("size", SIZES)
def test_size_fills_the_widths_and_round_trips(size):
    config = DreamerConfig(size=size)
    assert {name: getattr(config, name) for name in SIZES[size]} == dict(SIZES[size])
    assert DreamerConfig.model_validate_json(config.model_dump_json()) == config


def test_given_width_beats_the_size():
    config = DreamerConfig(size="1m", units=96)
    assert (config.units, config.deter) == (96, 512)


@pytest.mark.parametrize(
    "fields",
    [{"size": "2m"}, {"deter": 100}, {"bins": 254}, {"horizon": 0}, {"min_std": 2.0}, {"unknown": 1}, {"deter": 0}],
)
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        DreamerConfig(**{"size": "nano", **fields})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "at least one"),
        ({"camera": InputShape(shape=(60, 64, 3), dtype="uint8")}, "camera: 60x64 pixels.*multiple of 16"),
        (
            {
                "left": InputShape(shape=(64, 64, 3), dtype="uint8"),
                "right": InputShape(shape=(48, 64, 1), dtype="uint8"),
            },
            "right",
        ),
    ],
)
def test_inputs_that_cannot_be_encoded_are_refused(inputs, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        DreamerAgent(DreamerConfig(size="nano"), inputs, 2, False)


def test_config_needs_no_torch():
    code = "import sys, robot_wm.dreamer.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

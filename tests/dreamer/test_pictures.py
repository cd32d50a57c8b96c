"""Pictures and videos of imagined against real."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from robot_wm.dreamer.pictures import prediction_figure, prediction_video
from robot_wm.dreamer.prediction import OpenLoop
from robot_wm.raster import raster
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.film import write_film


@pytest.fixture
def prediction():
    generator = torch.Generator().manual_seed(0)
    actual = torch.rand(2, 6, 8, 8, 3, generator=generator)
    return OpenLoop(
        context=2,
        predicted={"camera": actual.clone(), "x": torch.zeros(2, 6, 1)},
        actual={"camera": actual, "x": torch.ones(2, 6, 1)},
        predicted_reward=torch.zeros(2, 6),
        actual_reward=torch.ones(2, 6),
    )


def test_a_video_shows_recorded_predicted_and_their_difference(prediction, tmp_path):
    video = prediction_video(prediction, "camera")
    assert video.shape == (6, 16, 24, 3)
    recorded, predicted, difference = np.split(video, 3, axis=2)
    np.testing.assert_array_equal(recorded, predicted)
    np.testing.assert_array_equal(recorded[3, 8:], (prediction.actual["camera"][1, 3].numpy() * 255).astype(np.uint8))
    assert (difference == 127).all()  # equal: grey
    prediction.predicted["camera"][0, 0, 0, 0] = 2.0  # what lies outside is cut, not wrapped around
    assert prediction_video(prediction, "camera")[0, 0, 8].tolist() == [255, 255, 255]
    path = tmp_path / "deep" / "v.gif"
    write_film(path, video, rate_hz=20)
    assert len(imageio.imread(path)) == 6


def test_a_picture_draws_every_field_of_a_task():
    env = make_env("cartpole_balance", observation="both")
    spec = agent_spec(env)
    env.close()
    values = {
        name: torch.rand(1, 12, *item.shape, generator=torch.Generator().manual_seed(1))
        for name, item in spec.model_inputs().items()
    }
    reward = torch.zeros(1, 12)
    image = raster(prediction_figure(OpenLoop(4, values, values, reward, reward), spec))
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert image.shape[0] > 150 * len(spec.observations)
    assert image.std() > 10

"""The quickstart's last part: an A1 of the zoo runs through the controller and is shown; or it is told why not."""

import base64
import io
import json

import pytest
from PIL import Image

from robot_wm.tasks import make_env
from robot_wm.zoo.catalog import Zoo
from robot_wm_export.quickstart_walk import figures_text, walk, walk_picture


@pytest.fixture(scope="module")
def walker(tmp_path_factory, add, make_run, key):
    """A zoo whose a1_velocity has learned nothing."""
    zoo = Zoo(tmp_path_factory.mktemp("walker"))
    run = make_run(tmp_path_factory.mktemp("run"), "a1_velocity")
    assert add(zoo, run, "a1_velocity", "--sign", str(key), "--backends", "pybullet") == 0
    return zoo


@pytest.fixture(scope="module")
def walked(walker):
    return walk(walker, seed=0)


def test_it_tells_what_the_task_tells_of_the_episode(walked, walker):
    env = make_env("a1_velocity")
    names = set(env.unwrapped.figure_names)
    env.close()
    assert set(walked["figures"]) == names - {"fall"}
    assert walked["falls"] in (0, 1)
    assert (walked["seconds"] < 20) == bool(walked["falls"])
    # Told to a hundredth: of a short walk on a fast machine the time taken is not much more than that.
    took_s, rate, hundredth = walked["took_s"], walked["times_real_time"], 0.0051
    assert walked["seconds"] / (took_s + hundredth) <= rate + hundredth
    assert (rate - hundredth) * (took_s - hundredth) <= walked["seconds"]
    assert walk(walker, seed=0)["return"] == walked["return"] != walk(walker, seed=1)["return"]
    json.dumps(walked)
    line = figures_text(walked)
    assert f"falls {walked['falls']}" in line
    assert f"velocity_error_m_s {walked['figures']['velocity_error_m_s']:.3g}" in line
    assert "term/" not in line


def test_the_picture_moves(walked, walker):
    picture = walk_picture(walker, walked)
    assert picture.kind == "gif"
    assert figures_text(walked) in picture.text
    with Image.open(io.BytesIO(base64.b64decode(picture.content))) as moving:
        shown_s = min(2.4, walked["seconds"])
        assert moving.n_frames == pytest.approx(shown_s / 0.08, abs=2)
        assert moving.info["duration"] == 80
        first = moving.convert("RGB")
        moving.seek(moving.n_frames - 1)
        assert first.tobytes() != moving.convert("RGB").tobytes()


def test_without_such_an_agent_it_is_left_out_with_the_reason(pole_zoo):
    left_out = walk(pole_zoo, seed=0)
    assert left_out == {
        "agent": "zoo:a1_velocity",
        "left_out": "zoo:a1_velocity: there is no such agent; there are: pole",
    }
    picture = walk_picture(pole_zoo, left_out)
    assert picture.content == ""
    assert picture.text == f"Left out: {left_out['left_out']}"


def test_an_agent_that_cannot_run_here_is_left_out_too(walker, tmp_path, key):
    broken = Zoo(tmp_path)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a1_velocity").symlink_to(walker.folder("a1_velocity"))
    assert "zoo.pub.pem" in walk(broken, seed=0)["left_out"]

"""Rough ground by itself: what is drawn of a few numbers. Engines' part of it is in conformance/test_terrain.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.scene import Scene
from robot_wm_sim.terrain import BELOW_M, LARGEST_HEIGHT_M, RIM_M, Ground, HeightField, Terrain, heights

FIELD = HeightField(half_side_m=3.2)
ALONG = np.linspace(-3.2, 3.2, FIELD.cells + 1)  # m, of the nodes
terrains = st.builds(Terrain, height_m=st.floats(0.0, LARGEST_HEIGHT_M), seed=st.integers(0, 2**32 - 1))


@given(terrain=terrains)
def test_heights_fill_their_range_around_zero_and_nothing_is_deeper_than_the_plane_but_the_rim(terrain):
    grid = heights(terrain, FIELD).astype(np.float64)
    x, y = np.meshgrid(ALONG, ALONG)
    inner = grid[np.maximum(abs(x), abs(y)) <= 3.2 - RIM_M]
    assert abs(inner).max() <= terrain.height_m / 2 + 1e-6
    assert inner.max() - inner.min() >= 0.9 * terrain.height_m - 1e-6
    assert inner.min() >= terrain.plane_m + BELOW_M - 1e-6
    edge = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
    np.testing.assert_allclose(edge, terrain.plane_m - BELOW_M, atol=1e-6)


@given(terrain=terrains, radius=st.floats(0.0, FIELD.flat_radius_m), angle=st.floats(0.0, 6.3))
def test_ground_is_flat_and_at_zero_where_robots_start(terrain, radius, angle):
    ground = Ground(FIELD)
    ground.change(terrain)
    assert ground.height(radius * np.cos(angle), radius * np.sin(angle)) == 0.0


@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_ground_grows_with_its_height(seed):
    low, high = (heights(Terrain(height_m=height, seed=seed), FIELD) for height in (0.02, 0.2))
    inner = slice(6, -6)
    np.testing.assert_allclose(high[inner, inner], 10.0 * low[inner, inner], atol=1e-6)
    assert (heights(Terrain(height_m=0.02, seed=seed), FIELD) == low).all()
    assert (heights(Terrain(height_m=0.02, seed=(seed + 1) % 2**32), FIELD) != low).mean() > 0.5


@given(terrain=terrains, angle=st.floats(0.0, 6.3))
def test_whoever_walks_off_meets_no_step_and_ends_on_the_plane(terrain, angle):
    """Between points 1 cm apart it rises by no more than the steepest facet: two ends of its range in one cell."""
    ground, way = Ground(FIELD), np.arange(0.0, 6.0, 1e-2)
    ground.change(terrain)
    found = [ground.height(x, y) for x, y in np.stack([way * np.cos(angle), way * np.sin(angle)], axis=1).tolist()]
    steepest = np.sqrt(2) * (terrain.height_m + 2 * BELOW_M) / FIELD.cell_m
    assert abs(np.diff(found)).max() <= 1e-2 * steepest + 1e-6
    assert found[-1] == terrain.plane_m


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height_m": 0.6}, r"height_m is 0.6, m, but must be within \[0, 0.5\]"),
        ({"height_m": -0.1}, "height_m is -0.1, m"),
        ({"height_m": float("nan")}, "height_m is nan, m"),
        ({"height_m": True}, "height_m is True, m"),
        ({"height_m": 0.1, "seed": 2**32}, "seed is 4294967296, but must be a whole number below"),
        ({"height_m": 0.1, "seed": 1.0}, "seed is 1.0, but"),
    ],
)
def test_a_terrain_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=f"^dynamics: terrain: {message}"):
        Terrain(**fields)


def test_a_field_without_ground_is_refused():
    with pytest.raises(UserError, match=r"^scene: height_field is that of a ground, and ground is False$"):
        Scene(robot=CARTPOLE, physics_rate_hz=500.0, ground=False, height_field=FIELD)

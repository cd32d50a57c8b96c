"""Rough ground in each backend: as high as it says everywhere, undone, restored, seen."""

import numpy as np
import pytest
from rigs import BALL, BALL_M, GRAVITY, RATE_HZ, SLEDGE, refusal

from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.robots.a1 import A1, FEET, FOOT_RADIUS_M, STAND_HEIGHT_M
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Camera, Scene
from robot_wm_sim.tasks.a1_scene import a1_scene
from robot_wm_sim.terrain import HeightField, Terrain, heights

FIELD = HeightField()
STEEP = Terrain(height_m=0.2, seed=3)
SUNK_M = 1e-3  # that contacts may give under 12 N; MuJoCo's springs sink by 0.3 mm
# The flat middle; middles of cells, where the wrong diagonal is some centimetres off; a node; rim, edge, outside.
POINTS = (
    (0.0, 0.0),
    (1.1, 0.9),
    (-3.3, 2.5),
    (4.7, -6.1),
    (-7.1, -2.9),
    (2.0, -1.4),
    (12.1, 3.1),
    (12.7, 0.5),
    (15.0, 2),
)


def surface(grid, terrain, x, y):
    """The oracle: each cell's two triangles as planes through their corners, and the plane around the field."""
    u, v = (np.asarray(x) + FIELD.half_side_m) / FIELD.cell_m, (np.asarray(y) + FIELD.half_side_m) / FIELD.cell_m
    i, j = (np.clip(np.floor(part).astype(int), 0, FIELD.cells - 1) for part in (u, v))
    u, v = u - i, v - j
    a, b, c, d = grid[j, i], grid[j, i + 1], grid[j + 1, i], grid[j + 1, i + 1]
    found = np.where(u > v, a + (b - a) * u + (d - b) * v, a + (d - c) * u + (c - a) * v)
    inside = np.maximum(np.abs(x), np.abs(y)) <= FIELD.half_side_m
    return np.maximum(np.where(inside, found, -np.inf), terrain.plane_m)


def resting(grid, terrain, x, y):
    """Height of the centre of a ball that touches the surface and is nowhere inside it."""
    offsets = np.linspace(-BALL_M, BALL_M, 201)
    dx, dy = np.meshgrid(offsets, offsets)
    over = BALL_M**2 - dx**2 - dy**2
    touching = surface(grid, terrain, x + dx, y + dy) + np.sqrt(np.maximum(over, 0.0))
    return touching[over >= 0.0].max()


@pytest.fixture
def drop(describe, build_sim):
    """Drops a ball at a point onto a terrain; where its centre comes to rest, [3] m."""
    robot = describe(BALL, "x", "y", "z")
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, height_field=FIELD))
    drive = Drive.holding_home(robot)
    drive.kp[:2], drive.kd[:2] = 1e4, 200.0

    def drop(terrain, x, y):
        sim.vary(Dynamics(terrain=terrain))
        sim.place(joint_position=np.array([x, y, 0.25]))
        drive.position[:2] = x, y
        sim.run(drive, 400)
        return sim.link_pose("ball")[0]

    drop.sim = sim
    return drop


@pytest.mark.parametrize("point", POINTS)
def test_a_ball_comes_to_rest_on_the_surface(drop, point):
    x, y, z = drop(STEEP, *point)
    assert z == pytest.approx(resting(heights(STEEP, FIELD), STEEP, x, y), abs=SUNK_M)


def test_the_ground_says_how_high_it_is(drop):
    drop.sim.vary(Dynamics(terrain=STEEP))
    rng = np.random.default_rng(0)
    points = rng.uniform(-14.0, 14.0, (500, 2))
    found = [drop.sim.ground.height(x, y) for x, y in points.tolist()]
    grid = heights(STEEP, FIELD).astype(np.float64)
    np.testing.assert_allclose(found, surface(grid, STEEP, *points.T), atol=1e-12)
    drop.sim.vary(Dynamics())
    assert drop.sim.ground.height(1.1, 0.9) == 0.0


def test_terrains_are_absolute_and_undone(drop):
    point, other = (3.1, 3.1), Terrain(height_m=0.1, seed=4)  # 7 cm and 3 cm high there
    rest = {terrain: drop(terrain, *point)[2] for terrain in (None, STEEP, other)}
    assert rest[None] == pytest.approx(BALL_M, abs=SUNK_M)
    assert len({round(height, 3) for height in rest.values()}) == 3
    for terrain in (other, STEEP, None):
        assert drop(terrain, *point)[2] == pytest.approx(rest[terrain], abs=1e-6)


@pytest.mark.parametrize("terrain", [None, Terrain(height_m=0.0, seed=1)], ids=["plane", "flat field"])
def test_a_flat_field_is_as_high_and_as_rough_as_the_plane(describe, build_sim, terrain):
    """A thrown block loses mu * g on either; see the test of the same in test_contacts."""
    robot = describe(SLEDGE, "up", "along", friction=0.5)
    sim, drive = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, height_field=FIELD)), Drive.holding_home(robot)
    sim.vary(Dynamics(terrain=terrain))
    sim.run(drive, 200)
    start, speed, loss = sim.state.joint_position.copy(), 1.5, 0.5 * GRAVITY  # m, m/s, m/s²
    assert start[0] == pytest.approx(0.0, abs=SUNK_M)
    sim.place(joint_position=start, joint_velocity=np.array([0.0, speed]))
    sim.run(drive, round(1.5 * speed / loss * RATE_HZ))
    way = sim.state.joint_position[1] - start[1]
    assert way == pytest.approx(speed**2 / (2 * loss) - speed / RATE_HZ / 2, rel=0.02)


def stand(sim, steps=150):
    """States, bit by bit, and forces on the feet, of an A1 that is dropped beside the flat middle and runs on."""
    drive, trace = Drive.holding_home(A1), []
    for step in range(steps // 5):
        drive.position[2::3] = np.array([joint.home for joint in A1.joints])[2::3] + 0.2 * np.sin(step / 3)
        sim.run(drive, 5)
        trace += [sim.state.block.tobytes(), tuple(sim.contact_forces(FEET))]
    return trace


def put(sim, x=3.0, y=2.0):
    home = np.array([joint.home for joint in A1.joints])
    sim.place(joint_position=home, base_position=(x, y, sim.ground.height(x, y) + STAND_HEIGHT_M + 0.05))


def test_a_snapshot_carries_its_terrain_bit_by_bit(build_sim):
    rough, other = Dynamics(terrain=STEEP), Dynamics(terrain=Terrain(height_m=0.06, seed=9))
    used, fresh = (build_sim(a1_scene("ideal", ())) for _ in range(2))
    start = used.save()
    put(used)
    flat = stand(used)
    used.vary(rough)
    put(used)
    first = stand(used)
    assert first != flat
    middle = used.save()
    wanted = stand(used)
    for between in (other, Dynamics()):
        used.vary(between)
        put(used, -2.0, 1.0)
        stand(used)
        used.restore(middle)
        assert used.dynamics == rough
        assert used.ground.terrain == STEEP
        assert stand(used) == wanted
    used.restore(start)
    assert used.ground.height(3.0, 2.0) == 0.0
    put(used)
    assert stand(used) == flat
    fresh.vary(other)
    fresh.vary(rough)
    put(fresh)
    assert stand(fresh) == first


def test_feet_stand_on_the_ground_that_is_told(build_sim):
    sim = build_sim(a1_scene("ideal", ()))
    sim.vary(Dynamics(terrain=Terrain(height_m=0.06, seed=9)))
    put(sim)
    sim.run(Drive.holding_home(A1), 1000)
    for x, y, z in sim.link_positions(FEET):
        # A foot on a slope touches beside its middle: a little higher, never lower.
        assert -SUNK_M < z - FOOT_RADIUS_M - sim.ground.height(x, y) < 3e-3


def test_a_world_without_a_field_refuses_a_terrain_and_stays(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    line = refusal(lambda: sim.vary(Dynamics(terrain=STEEP, friction=0.1)))
    assert line == "dynamics: terrain: the scene of robot racecar has no height field"
    assert sim.dynamics == Dynamics()


def test_a_terrain_is_seen_and_looking_at_it_changes_nothing(build_seeing_sim):
    camera = Camera(eye=(0.0, -2.0, 0.5), target=(0.0, 0.0, 0.0))
    traces, flat = [], None
    for looking in (False, True):
        sim = build_seeing_sim(a1_scene("ideal", ()))
        snapshot = sim.save()
        if looking:
            flat = sim.render(camera, height=48, width=64)
        sim.vary(Dynamics(terrain=STEEP))
        put(sim)
        trace = []
        for _ in range(3):
            trace += stand(sim, 20)
            if looking:
                assert (sim.render(camera, height=48, width=64) != flat).mean() > 0.3
        sim.restore(snapshot)
        if looking:
            np.testing.assert_array_equal(sim.render(camera, height=48, width=64), flat)
        put(sim)
        traces.append([*trace, *stand(sim, 20)])
    assert traces[0] == traces[1]

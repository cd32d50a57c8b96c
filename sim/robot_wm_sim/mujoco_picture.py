"""Pictures of a MuJoCo world through OpenGL without a display: EGL where it is installed, else OSMesa."""

from __future__ import annotations

import atexit
import importlib
import math
import os
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_sim import opengl
from robot_wm_sim.frames import Vector
from robot_wm_sim.mujoco_ground import CHECKERED_GROUND, CHECKERED_TERRAIN, PLAIN_GROUND, PLAIN_TERRAIN
from robot_wm_sim.scene import Camera, light_from_behind
from robot_wm_sim.terrain import Ground, Terrain

# Brightness of a side in the shade, how much more a side has that faces the light, and whence light comes in an agent's
# picture: as in Bullet's TinyRenderer, so that a policy's pictures look alike in both engines.
AMBIENT, DIFFUSE = 0.6, 0.4
LIGHT: Vector = (-0.43, 0.26, 0.86)


class Painter:
    """Draws the shapes of one model. It owns an OpenGL context, which ``close`` frees."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Raises UserError where nothing can draw without a display."""
        self._model = model
        self._size = (0, 0)  # height, width in pixels
        self._terrain: Terrain | None = None  # whose heights the context has
        self._gl: Any = _gl_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        # A context that outlives the library's own clean-up ends in a traceback.
        atexit.register(self.close)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 1)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()

    def picture(
        self,
        data: mujoco.MjData,
        camera: Camera,
        eye: Vector,
        target: Vector,
        up: Vector,
        *,
        ground: Ground,
        height: int,
        width: int,
    ) -> NDArray[np.uint8]:
        """What ``camera`` sees from ``eye``: uint8 [height, width, 3]. ``data`` must hold where the shapes are."""
        self._gl.make_current()
        is_rough = ground.terrain is not None
        if is_rough and ground.terrain != self._terrain:
            mujoco.mjr_uploadHField(self._model, self._context, 0)
            self._terrain = ground.terrain
        if (height, width) != self._size:
            mujoco.mjr_resizeOffscreen(width, height, self._context)
            self._size = (height, width)
        self._options.geomgroup[PLAIN_GROUND] = not camera.for_people
        self._options.geomgroup[CHECKERED_GROUND] = camera.for_people
        self._options.geomgroup[PLAIN_TERRAIN] = is_rough and not camera.for_people
        self._options.geomgroup[CHECKERED_TERRAIN] = is_rough and camera.for_people
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        self._aim(camera, np.array(eye), np.array(target), np.array(up))
        self._light(light_from_behind(eye, target) if camera.for_people else LIGHT)
        view = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(view, self._scene, self._context)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, view, self._context)
        return pixels[::-1].copy()  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        if self._gl is not None:
            atexit.unregister(self.close)
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def _aim(
        self, camera: Camera, eye: NDArray[np.float64], target: NDArray[np.float64], up: NDArray[np.float64]
    ) -> None:
        forward = (target - eye) / np.linalg.norm(target - eye)
        up = up - forward * (up @ forward)
        reach = camera.near * math.tan(math.radians(camera.vertical_fov_deg) / 2)
        for lens in self._scene.camera:  # one an eye
            lens.pos, lens.forward, lens.up = eye, forward, up / np.linalg.norm(up)
            lens.frustum_top, lens.frustum_bottom = reach, -reach
            lens.frustum_center = lens.frustum_width = 0.0  # the picture's own width to height
            lens.frustum_near, lens.frustum_far = camera.near, camera.far
            lens.orthographic = 0

    def _light(self, towards: Vector) -> None:
        """One light without shadows, from that direction."""
        self._scene.nlight = 1
        light = self._scene.lights[0]
        light.type, light.headlight, light.castshadow, light.texid = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, 0, 0, -1
        light.dir = -np.array(towards) / np.linalg.norm(towards)
        light.ambient, light.diffuse, light.specular = [AMBIENT] * 3, [DIFFUSE] * 3, [0.0] * 3


def _gl_context() -> Any:
    """A context of OpenGL by MUJOCO_GL, or by what is installed. Raises UserError where there is none."""
    name = os.environ.get("MUJOCO_GL", "").strip().lower() or opengl.installed()
    if name not in (*opengl.LIBRARIES, "glfw"):
        reason = f"MUJOCO_GL={name} draws nothing" if name else "neither EGL nor OSMesa is installed"
        raise UserError(f"MuJoCo cannot draw: {reason}; {opengl.ADVICE}")
    try:
        # By itself and not through mujoco.Renderer, which obeys what MUJOCO_GL was when mujoco was imported.
        return importlib.import_module(f"mujoco.{name}").GLContext(640, 480)
    # ImportError, RuntimeError, AttributeError or PyOpenGL's own, by what is missing.
    except Exception as error:
        raise UserError(f"MuJoCo cannot draw with {name}: {error}; {opengl.ADVICE}") from error

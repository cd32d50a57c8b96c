"""The C header: compiles as C11 and C++11 without a warning, and holds the numbers of the YAML file."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.firmware.loading import load_robot
from robot_wm.firmware.mcu_header import float_literal, microseconds, render_mcu_header
from robot_wm.firmware.shipped import known

# A program that prints the header's tables as JSON, nine digits a float: enough to tell any two float32 apart.
PRINT = r"""
#include <stdio.h>
#include "@HEADER@"
int main(void) {
  int i;
  printf("{\"robot\": \"%s\", \"firmware\": \"%s\", ", ROBOT_WM_ROBOT, ROBOT_WM_FIRMWARE);
  printf("\"rate\": %.9g, ", (double)ROBOT_WM_CONTROL_RATE_HZ);
  printf("\"timeout_us\": %lu, ", (unsigned long)ROBOT_WM_COMMAND_TIMEOUT_US);
  printf("\"modes\": %d, \"action\": %d, ", (int)ROBOT_WM_CONTROL_MODES, (int)ROBOT_WM_ACTION_MODE);
  printf("\"joints\": [");
  for (i = 0; i < ROBOT_WM_JOINT_COUNT; ++i) {
    const struct robot_wm_joint *j = &ROBOT_WM_JOINTS[i];
    printf("%s{\"name\": \"%s\", ", i ? ", " : "", j->name);
    printf("\"numbers\": [%.9g, %.9g, ", (double)j->position_min, (double)j->position_max);
    printf("%.9g, %.9g, %.9g, ", (double)j->velocity_max, (double)j->effort_max, (double)j->rate_max);
    printf("%.9g, %.9g], ", (double)j->kp, (double)j->kd);
    printf("\"watchdog_us\": %lu, \"direction\": %d}", (unsigned long)j->watchdog_us, (int)j->direction);
  }
  printf("]}\n");
  return 0;
}
"""
COMPILERS = {
    "c": ["gcc", "-Wall", "-Wextra", "-Werror", "-std=c11", "-pedantic"],
    "cpp": ["g++", "-Wall", "-Wextra", "-Werror", "-std=c++11", "-pedantic"],
}
FLT_MAX = float(np.finfo(np.float32).max)


def build(folder: Path, robot_name: str, language: str, source: str) -> Path:
    """Compile ``source`` with the robot's header beside it; AssertionError with what the compiler says."""
    compiler = COMPILERS[language]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    (header,) = render_mcu_header(load_robot(robot_name))
    (folder / header.name).write_text(header.text)
    path = folder / f"main.{language}"
    path.write_text(source.replace("@HEADER@", header.name))
    done = subprocess.run(
        [*compiler, "-o", folder / "main", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "main"


@pytest.mark.parametrize("language", COMPILERS)
@pytest.mark.parametrize("name", known("robots"))
def test_what_the_compiled_header_says_is_what_the_yaml_says(name, language, tmp_path):
    program = build(tmp_path, name, language, PRINT)
    said = json.loads(subprocess.run([program], capture_output=True, text=True, timeout=10, check=True).stdout)
    robot = load_robot(name)
    assert (said["robot"], said["firmware"]) == (robot.robot, robot.firmware)
    assert said["rate"] == np.float32(robot.control_rate_hz)
    assert said["timeout_us"] == robot.command_timeout_s * 1e6
    bits = {"position": 1, "velocity": 2, "effort": 4}
    assert said["modes"] == sum(bits[mode] for mode in robot.control_modes)
    assert said["action"] == bits[robot.action_mode]
    assert [row["name"] for row in said["joints"]] == list(robot.joints)
    for row, joint in zip(said["joints"], robot.joints.values(), strict=True):
        limits = joint.limits
        low, high = limits.position or (-FLT_MAX, FLT_MAX)
        rate = FLT_MAX if limits.rate is None else limits.rate
        wanted = np.float32([low, high, limits.velocity, limits.effort, rate, joint.kp, joint.kd])
        np.testing.assert_array_equal(np.float32(row["numbers"]), wanted)
        assert row["watchdog_us"] == (joint.watchdog_s or robot.command_timeout_s) * 1e6
        assert row["direction"] == joint.direction


def test_the_index_of_every_joint_is_its_place_in_the_table(tmp_path):
    robot = load_robot("a1")
    checks = "\n".join(
        f'  if (strcmp(ROBOT_WM_JOINTS[ROBOT_WM_JOINT_{name.upper()}].name, "{name}")) return {place + 1};'
        for place, name in enumerate(robot.joints)
    )
    source = (
        f'#include "@HEADER@"\n#include "@HEADER@"\n#include <string.h>\nint main(void) {{\n{checks}\n  return 0;\n}}\n'
    )
    assert subprocess.run([build(tmp_path, "a1", "c", source)], timeout=10, check=False).returncode == 0


def test_the_header_carries_the_hash_of_the_spec_that_it_is_rendered_for(specs, a1):
    (header,) = render_mcu_header(a1, specs["a1"])
    assert f'#define ROBOT_WM_SPEC_HASH "{specs["a1"].content_hash()}"' in header.text
    assert "SPEC_HASH" not in render_mcu_header(a1)[0].text


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float_literal_reads_back_as_the_same_float32(value):
    text = float_literal(value)
    assert text.endswith("f")
    assert "." in text or "e" in text
    assert np.float32(text[:-1]) == np.float32(value)


def test_a_joint_may_have_a_watchdog_of_its_own():
    robot = load_robot("cartpole")
    slider = robot.joints["slider"].model_copy(update={"watchdog_s": 0.033})
    (header,) = render_mcu_header(robot.model_copy(update={"joints": {"slider": slider}}))
    assert "33000u" in header.text
    assert "#define ROBOT_WM_COMMAND_TIMEOUT_US 100000u" in header.text


def test_no_watchdog_rounds_to_none():
    assert microseconds(1e-9) == 1
    assert microseconds(0.1) == 100_000

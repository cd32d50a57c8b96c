"""Every number with a unit, and every default, that a README states: the code's own, or listed as a measurement."""

import ast
import re

import pytest
from fault_rig import SENSOR_RATE_HZ
from shown import ROOT, pages

from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.render import render_all
from robot_wm.runtime.end_stops import STOP_S
from robot_wm.runtime.following import LIMIT_SHARE, SATURATED_SHARE
from robot_wm.runtime.go_to_start import PEAK
from robot_wm.runtime.installed_command import install
from robot_wm.runtime.live import excitation, response
from robot_wm.runtime.live.check import DRIVEN_S
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.tasks import agent_spec, make_env
from robot_wm.yaml_file import MAX_DEPTH, MAX_NODES
from robot_wm.zoo.catalog import Zoo
from robot_wm_export.robustness.grid import LATE_S
from robot_wm_export.robustness.summary import LEAST_IN_OTHER_ENGINE, LEAST_LATE, MOST_FALLS
from robot_wm_ros import parameters, qos
from robot_wm_ros.agent_node import REPORT_S
from robot_wm_ros.diagnostics import HOT_C
from robot_wm_ros.heartbeat import SILENCE_S
from robot_wm_sim.actuators.network import LAGS_S
from robot_wm_sim.importing.rates import control_rate_hz
from robot_wm_sim.legged.velocity import SUCCESS_ERROR
from robot_wm_sim.tasks import a1
from robot_wm_worlds.cooling.env import SUCCESS_PUE
from robot_wm_worlds.cooling.plant import TIMESTEP_MIN
from robot_wm_worlds.cooling.reward import RECOMMENDED_C

TOP, ROS, SIM = "README.md", "ros2_ws/src/robot_wm/README.md", "sim/README.md"
CONFIG = "ros2_ws/src/robot_wm/config/agent.yaml"
DEFAULTS = {row.name: row.default for row in parameters._DECLARATIONS}
SAFETY = SafetyConfig()
UNITS = "s|ms|Hz|kHz|rad|rad/s|m/s|m|N·m|nats|MiB|GiB|MB|GB|kB|°C|%|kg|h|deep|values|ticks"
NUMBER = re.compile(rf"(?<![\w.,/×-])\d[\d.,]*\d? (?:{UNITS})(?![\w])|`\w+` \(\d[\d.]*(?: \w+)?\)|depth \d+")


def task_row(name):
    env = make_env(name, seed=0)
    try:
        spec = agent_spec(env)
    finally:
        env.close()
    return spec.control_rate_hz, spec.physics_rate_hz


def walking_errors():
    """m/s and rad/s of the zoo's A1, of both engines the larger, to two digits."""
    evaluations = Zoo.shipped().card("a1_velocity").evaluations.values()
    names = "velocity_error_m_s", "yaw_error_rad_s"
    return [round(max(one.figures[name] for one in evaluations), 2) for name in names]


# (page, the statement with a group for each number, what the code has)
STATED = [
    (TOP, r"velocities now, (\d+) and (\d+) ms ago", lambda: [1000 * lag for lag in LAGS_S[1:]]),
    *((TOP, rf"\| `{name}` \| [^|]+\| (\d+) Hz over (\d+) Hz", lambda name=name: task_row(name))
      for name in ("panda_reach", "racecar_goal", "a1_stand", "a1_velocity")),
    *((TOP, rf"\| `{name}` \| [^|]+\| (\d+) Hz \|", lambda name=name: task_row(name)[:1])
      for name in ("cartpole_balance", "cartpole_swingup", "video_rate_control")),
    (TOP, r"two data halls in EnergyPlus \| every (\d+) min \|", lambda: (TIMESTEP_MIN,)),
    (TOP, r"PUE < ([\d.]+), no minute outside (\d+)–(\d+) °C", lambda: (SUCCESS_PUE, *RECOMMENDED_C)),
    *((SIM, rf"\| `{kind}` \| [^|]+\| [^|]+, (\d+) Hz \|", lambda kind=kind: (control_rate_hz(kind, None),))
      for kind in ("arm", "wheeled", "legged", "empty")),
    (SIM, r"position commands at (\d+) Hz: .{0,80}? update_rate: (\d+) # Hz",
     lambda: (control_rate_hz("arm", 150.0), 150.0)),
    (TOP, r"mean errors < ([\d.]+) m/s and rad/s \| \| `a1_velocity`", lambda: (SUCCESS_ERROR,)),
    (TOP, r"mean errors < ([\d.]+) m/s and rad/s \| \| `video_rate_control`", lambda: (SUCCESS_ERROR,)),
    (TOP, r"more than (\d+) values`, `nested more than (\d+) deep`", lambda: (MAX_NODES, MAX_DEPTH)),
    (TOP, r"falls below (\d+) % in `sim2real`, (\d+) % of .{0,60}? other, (\d+) % with observations (\d+) ms late",
     lambda: (100 * MOST_FALLS, 100 * LEAST_IN_OTHER_ENGINE, 100 * LEAST_LATE, 1e3 * LATE_S)),
    (TOP, r"under (\d+) MB in all", lambda: (constant("tests/zoo/test_shipped.py", "MOST_BYTES") / 1e6,)),
    (TOP, r"errors of ([\d.]+) m/s and ([\d.]+) rad/s at commands", lambda: walking_errors()),
    (ROS, r"`sensor_wait_s` \((\d+) s\)", lambda: (DEFAULTS["sensor_wait_s"],)),
    (ROS, r"`planner_share` of ticks, ([\d.]+)\)", lambda: (DEFAULTS["planner_share"],)),
    (ROS, r"`planner_late_limit` \((\d+)\) times in a row", lambda: (DEFAULTS["planner_late_limit"],)),
    (ROS, r"policy wants \((\d+) s for positions and velocities", lambda: (SAFETY.soft_start_s,)),
    (ROS, r"`start_speed` \(([\d.]+) rad/s: (\d+) rad takes ([\d.]+) s\)",
     lambda: (DEFAULTS["start_speed"], 1, PEAK / DEFAULTS["start_speed"])),
    (ROS, r"begins to move: soft start, (\d+) s", lambda: (SAFETY.soft_start_s,)),
    (CONFIG, r"# ([\d.]+) for positions and velocities, none for efforts", lambda: (SAFETY.soft_start_s,)),
    (ROS, r"on change and at (\d+) Hz", lambda: (1 / REPORT_S,)),
    (ROS, r"\| out at (\d+) Hz: mode", lambda: (1 / REPORT_S,)),
    (ROS, r"and above (\d+) °C", lambda: (HOT_C,)),
    (ROS, r"\| best effort, depth (\d+); targets and commands reliable", lambda: (qos.SENSORS.depth,)),
    (ROS, r"JointTrajectory, TwistStamped \| reliable, depth (\d+) \|", lambda: (qos.COMMANDS.depth,)),
    (ROS, r"`~/heartbeat` \| std_msgs/String \| reliable, depth (\d+)", lambda: (qos.HEARTBEAT.depth,)),
    (ROS, r"`~/trace` \| UInt64MultiArray \| reliable, depth (\d+)", lambda: (qos.TRACE.depth,)),
    (ROS, r"samples at (\d+) Hz, control at (\d+) Hz, max_age_s ([\d.]+)\)",
     lambda: (SENSOR_RATE_HZ, task_row("a1_velocity")[0], a1.MAX_AGE_S)),
    (ROS, r"max_age_s \+ 2 control periods = (\d+) ms",
     lambda: (1e3 * (a1.MAX_AGE_S + 2 / task_row("a1_velocity")[0]),)),
    (ROS, r"drives do not follow for (\d+) s, coming", lambda: (SAFETY.following_s,)),
    (ROS, r"does not follow if it is off, for (\d+) s, by more than half", lambda: (SAFETY.following_s,)),
    (ROS, r"e-stop, after max\(([\d.]+) s, max_age_s \+ hold_s\)", lambda: (SILENCE_S,)),
    (ROS, r"the drives' watchdog \((\d+) ms\)", lambda: (1e3 * load_robot("a1").command_timeout_s,)),
    (ROS, r"from its speed limit within ([\d.]+) s\)", lambda: (STOP_S,)),
    (ROS, r"the first (\d+) s of each drive", lambda: (DRIVEN_S,)),
    (ROS, r"goes out by ([\d.]+) rad \(([\d.]+) m\) and back in ([\d.]+) s",
     lambda: (*excitation.REACH.values(), 2 * excitation.WAY_S)),
    (ROS, r"delays below ([\d.]+) s, offsets below ([\d.]+) rad", lambda: (response.LATE_S, response.OFFSET)),
    (ROS, r"`record_file_mib` \((\d+)\)", lambda: (DEFAULTS["record_file_mib"],)),
    (ROS, r"`record_idle_s` \((\d+)\)", lambda: (DEFAULTS["record_idle_s"],)),
]  # fmt: skip
# What was measured, or planted by a test, and is nobody's default.
MEASURED = {
    TOP: (
        r"walk\.mp4 # [\d.]+ m/s ahead",
        r"chilled water, °C, 1, 1, °C",  # units, held by tests/docs/test_tables.py
    ),
    ROS: (
        r"the pole was up in all \d+ ticks of \d+ s",
        r"surprise was [\d.]+ nats at the median.{0,250}?, \d+ nats, notices nothing",
        r"active, 50 Hz",
        r"publisher floods at 5 kHz",
        r"agent stopped for [\d.]+ s \(SIGSTOP\)",
        r"deadline missed in \d ticks in a row, of 25 to 35 ms each",
        r"surprise above its limit in \d ticks in a row",
        r"The e-stop's \d+ ms was once",
        r"until it is closed: \d+ MB an hour",
    ),
    # tests/worlds/cooling has both as bounds.
    SIM: (r"below a dew point of \d+ °C", r"finds up to \d+ % more heat"),
}

# Held word by word: by tests/docs/test_task_cards.py and test_quantities.py.
GENERATED = {
    SIM: (
        r"<!-- cards of the tasks.*<!-- end of the cards -->",
        r"<!-- what can be randomised.*<!-- end of what can be -->",
    )
}


def constant(path, name):
    module = ast.parse((ROOT / path).read_text())
    (value,) = (node.value for node in module.body if isinstance(node, ast.Assign) and node.targets[0].id == name)
    return ast.literal_eval(value)


def text_of(page):
    """Without line breaks in the middle of a statement."""
    return re.sub(r"\s+", " ", (ROOT / page).read_text())


@pytest.mark.parametrize(("page", "pattern", "value"), STATED, ids=[pattern[:60] for _, pattern, _ in STATED])
def test_a_stated_number_is_the_codes(page, pattern, value):
    (found,) = re.finditer(pattern, text_of(page))
    assert [float(group) for group in found.groups()] == pytest.approx([float(one) for one in value()])


@pytest.mark.parametrize("page", [TOP, ROS, SIM])
def test_no_number_is_stated_that_nothing_holds(page):
    """A new one needs a row above, or is listed as measured."""
    text = text_of(page)
    rows = [*(pattern for where, pattern, _ in STATED if where == page), *GENERATED.get(page, ())]
    spans = [match.span() for pattern in (*rows, *MEASURED.get(page, ())) for match in re.finditer(pattern, text)]
    loose = [
        text[max(0, found.start() - 40) : found.end() + 20]
        for found in NUMBER.finditer(text)
        if not any(begin <= found.start() and found.end() <= end + 3 for begin, end in spans)
    ]
    assert loose == []


@pytest.mark.parametrize("page", [TOP, ROS, SIM])
def test_no_measurement_is_listed_that_is_not_there(page):
    for pattern in MEASURED.get(page, ()):
        assert re.search(pattern, text_of(page)), pattern


def test_the_launch_arguments_of_the_table_have_its_defaults():
    text = pages()[ROS]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", text[text.index("| launch argument") :], re.MULTILINE)
    stated = {}
    for names, defaults in rows:
        names = re.findall(r"`(\w+)`", names)
        defaults = re.sub(r" \(.*\)", "", defaults).split(", ")
        stated |= dict(zip(names, defaults * len(names) if len(defaults) == 1 else defaults, strict=True))
    declared = launch_defaults("agent")
    assert {name: value.replace('""', "") for name, value in stated.items()} == declared
    assert "`allow_unsigned` true in hil.launch.py" in text
    assert "`guardian` | true (false in hil.launch.py)" in text
    hil = launch_defaults("hil")
    assert (hil["allow_unsigned"], hil["guardian"]) == ("true", "false")


def launch_defaults(name):
    """Launch argument -> default, as the launch file declares it."""
    module = ast.parse((ROOT / f"ros2_ws/src/robot_wm/launch/{name}.launch.py").read_text())
    found = {}
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "DeclareLaunchArgument":
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            default = keywords.get("default_value")
            if isinstance(call.args[0], ast.Constant):
                found[call.args[0].value] = (
                    default.value if isinstance(default, ast.Constant) else f"config/{name}.yaml" if default else None
                )
    if name == "agent":
        for table in ("OVERRIDES", "NUMBERS", "TOPICS"):
            found |= dict.fromkeys(constant("ros2_ws/src/robot_wm/launch/agent.launch.py", table), "")
    return found


def test_what_is_said_of_shares_and_versions_kept_is_so():
    text = text_of(ROS)
    assert "by more than half of what its drive gives all it can for" in text
    assert "at most a quarter of the speed limit" in text
    assert (SATURATED_SHARE, LIMIT_SHARE) == (0.5, 0.25)
    assert "`--keep 5`" in text or "--keep 5" in pages()[ROS]
    assert install.__kwdefaults__["keep"] == 5


def test_the_units_have_the_settings_that_the_page_names():
    files = {file.name: file.text for file in render_all(load_robot("a1"), load_board("orin-nx"))}
    unit = files["robot-wm-agent.service"]
    section = pages()[ROS]
    section = section[section.index("## systemd") : section.index("## Bundles")]
    named = re.findall(r"`((?:Kill|Restart|Notify|Watchdog|Limit)\w*=[\w-]+)`", section)
    assert len(named) >= 7
    for setting in named:
        assert f"{setting}\n" in unit, setting
    priority = load_board("orin-nx").priorities.agent
    assert f"fifo_priority: {priority}" in section
    assert f"{priority} is what boards get" in text_of(CONFIG)

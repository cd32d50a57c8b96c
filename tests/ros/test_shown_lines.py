"""Every ``ros2`` line and every ~/name that a page, a message or a rendered file shows, against the real node."""

import ast
import re
from pathlib import Path

import pytest
import rclpy
from agent_rig import CONFIGURE, AgentRig
from rclpy.node import Node
from shown import STAND_IN, in_text, lines_to_paste, literals, pages, rendered, settings

from robot_wm_ros.sim_parameters import SimParameters

PACKAGE = Path(__file__).resolve().parents[2] / "ros2_ws/src/robot_wm"
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}
# ros2cli's own words and those of its plug-ins, for what has nothing of ours in it.
OTHERS = {
    ("security", verb) for verb in ("create_keystore", "create_enclave", "create_permission", "generate_policy")
} | {("launch",), ("param", "describe"), ("lifecycle", "set"), ("security",), ("run", "controller_manager")}
NODES = {"/agent", STAND_IN}


def shown():
    """(where, words after ``ros2``), each once."""
    texts = [*pages().items(), *rendered().items(), *settings().items(), *literals()]
    found = {}
    for where, text in texts:
        for style in (lines_to_paste, in_text):
            for words in style(text, "ros2"):
                found.setdefault(" ".join(words), (where, words))
    return [pytest.param(words, id=f"{where}: {' '.join(words)}"[:160]) for where, words in found.values() if words]


SHOWN = shown()


@pytest.fixture(scope="module")
def launch_arguments():
    """Launch file -> names of its arguments, as its text declares them: `launch` itself is not everywhere."""
    declared = {}
    for path in (PACKAGE / "launch").glob("*.launch.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names.add(node.value)
        declared[path.name] = names
    return declared


@pytest.fixture(scope="module")
def graph(make_bundle, worker_offset):
    """What a configured node of a robot dog offers: its services and topics with their types, and its parameters."""
    with AgentRig(make_bundle("a1_velocity"), next(worker_offset), namespace="", trace=True) as rig:
        assert rig.change(CONFIGURE), "\n".join(rig.lines)
        node = rig.agent
        name, space = node.get_name(), node.get_namespace()
        services = dict(node.get_service_names_and_types_by_node(name, space))
        topics = dict(node.get_publisher_names_and_types_by_node(name, space))
        topics |= dict(node.get_subscriber_names_and_types_by_node(name, space))
        return services, topics, set(node.get_parameters_by_prefix(""))


@pytest.fixture(scope="module")
def sim_parameters(worker_offset):
    context = rclpy.Context()
    context.init(domain_id=next(worker_offset))
    node = Node("sim_robot", context=context, cli_args=["--ros-args", "-p", "task:=cartpole_balance"])
    SimParameters.declare(node)
    yield set(node.get_parameters_by_prefix(""))
    node.destroy_node()
    context.shutdown()


def require_known(words, graph, launch_arguments, sim_parameters):
    """AssertionError for a line that is not taken, or that names what is not there."""
    services, topics, parameters = graph
    match words:
        case ["launch", "robot_wm", file, *arguments] if file.endswith(".launch.py"):
            given = {argument.split(":=")[0] for argument in arguments if ":=" in argument}
            assert given <= launch_arguments[file]
            assert all(":=" in argument for argument in arguments)
        case ["run", "robot_wm", executable, *options]:
            assert (PACKAGE / "scripts" / executable).is_file()
            assert {option.split(":=")[0] for option in options if ":=" in option} <= sim_parameters
        case ["service", "call", name, kind]:
            assert kind in services[name]
        case ["topic", "echo", name]:
            assert name in topics
        case ["lifecycle", "set", node, transition]:
            assert node in NODES
            assert transition in TRANSITIONS
        case ["param", "describe", node, "NAME"]:
            assert node in NODES | {"/sim_robot"}
        case ["param", "set", node, parameter, _]:
            assert node in NODES
            assert parameter in parameters
        case _:
            assert tuple(words[:2]) in OTHERS or tuple(words[:1]) in OTHERS, "teach this test the line"


def test_lines_are_found_where_they_are_shown():
    assert len(SHOWN) > 20
    places = {parameter.id.partition(":")[0].partition(",")[0] for parameter in SHOWN}
    assert {"README.md", "ros2_ws/src/robot_wm/README.md", "a1"} <= places
    assert {"ros2_ws/src/robot_wm/config/agent.yaml", "ros2_ws/src/robot_wm/launch/agent.launch.py"} <= places


@pytest.mark.parametrize("words", SHOWN)
def test_a_line_that_is_shown_is_taken(words, graph, launch_arguments, sim_parameters):
    require_known(words, graph, launch_arguments, sim_parameters)


@pytest.mark.parametrize(
    "line",
    [
        "launch robot_wm agent.launch.py bundel:=a.rwm",
        "launch robot_wm agnt.launch.py bundle:=a.rwm",
        "run robot_wm guard",
        "run robot_wm sim_robot --ros-args -p tsk:=a",
        "service call /agent/stop std_srvs/srv/Trigger",
        "service call /agent/estop std_srvs/srv/SetBool",
        "topic echo /agent/mod",
        "lifecycle set /agent start",
        "param set /agent hold 1",
        "bag play x",
    ],
)
def test_a_line_that_is_not_taken_is_found(line, graph, launch_arguments, sim_parameters):
    with pytest.raises((AssertionError, KeyError)):
        require_known(line.split(), graph, launch_arguments, sim_parameters)


@pytest.mark.parametrize("page", ["README.md", "ros2_ws/src/robot_wm/README.md"])
def test_every_private_name_of_a_page_is_the_nodes(page, graph):
    services, topics, _ = graph
    named = set(re.findall(r"`~/([a-z_]+)`", pages()[page])) | set(re.findall(r"`agent/([a-z_]+)`", pages()[page]))
    assert {f"/agent/{name}" for name in named} <= set(services) | set(topics)
    assert named or page == "README.md"


def test_the_tables_of_topics_and_services_have_their_types(graph):
    services, topics, _ = graph
    text = pages()["ros2_ws/src/robot_wm/README.md"]
    text = text[text.index("## Topics and services") : text.index("## Parameters")]
    rows = re.findall(r"^\| `(~?/?[a-z_]+)` \| ([\w/]+) \|", text, re.MULTILINE)
    assert len(rows) >= 8
    for name, kind in rows:
        full = name.replace("~", "/agent") if "~" in name else f"/{name.lstrip('/')}"
        types = (services | topics)[full]
        assert kind.split("/")[-1] in {one.split("/")[-1] for one in types}, name

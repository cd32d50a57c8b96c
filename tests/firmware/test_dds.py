"""Middleware files, read by the middleware itself: real ROS 2 processes over Fast DDS, and Cyclone DDS's own parser."""

import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from robot_wm.firmware.dds import render_dds
from robot_wm.firmware.loading import load_board
from robot_wm.firmware.shipped import known

PEER = Path(__file__).parent / "dds_peer.py"
ELSEWHERE = "203.0.113.7"  # of TEST-NET-3 (RFC 5737): no interface has it
DOMAIN = str(200 + os.getpid() % 30)


def written(folder: Path, name: str, addresses: tuple[str, ...] = (), *, shared_memory: bool = False) -> Path:
    """One of the two files, with other interfaces than the board's."""
    board = load_board("orin-nx")
    changes = {"interfaces": tuple(map(IPv4Address, addresses)), "shared_memory": shared_memory}
    changed = board.model_copy(update={"dds": board.dds.model_copy(update=changes)})
    (file,) = [file for file in render_dds(changed) if file.name == name]
    path = folder / name
    path.write_text(file.text)
    return path


def converse(profiles: Path, *, seconds: float) -> tuple[bool, str]:
    """Whether a message came from one process to another under these profiles, and what the listener printed."""
    pytest.importorskip("rclpy", reason="needs ROS 2: the ros-wheels extra, or a sourced installation")
    environment = os.environ | {
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(profiles),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(profiles),
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",  # another value would choose transports itself
    }

    def start(role: str, time_s: float) -> subprocess.Popen[str]:
        arguments = [sys.executable, str(PEER), role, str(time_s)]
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    talker = start("talk", 60.0)
    try:
        said, _ = start("listen", seconds).communicate(timeout=60.0)
    finally:
        talker.kill()
        talker.communicate()
    assert "ready" in said, said
    return "heard ['hello']" in said, said


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ()], ids=["loopback", "every-interface"])
def test_processes_talk_over_the_allowed_interfaces(addresses, tmp_path):
    heard, said = converse(written(tmp_path, "fastdds.xml", addresses), seconds=20.0)
    assert heard, said
    assert "Error" not in said


def test_processes_talk_through_shared_memory_too(tmp_path):
    heard, said = converse(written(tmp_path, "fastdds.xml", ("127.0.0.1",), shared_memory=True), seconds=20.0)
    assert heard, said
    assert "Error" not in said


def test_no_other_interface_is_used(tmp_path):
    """With the allow-list pointing nowhere nothing arrives, and Fast DDS says why: so the list is what it obeys."""
    heard, said = converse(written(tmp_path, "fastdds.xml", (ELSEWHERE,)), seconds=3.0)
    assert not heard
    assert "whitelist interfaces were filtered out" in said


def test_fast_dds_complains_about_a_file_that_is_not_its_own(tmp_path):
    path = written(tmp_path, "fastdds.xml", ("127.0.0.1",))
    path.write_text(path.read_text().replace("interfaceWhiteList", "interfaceWhitelist"))
    _, said = converse(path, seconds=0.1)
    assert "XMLPARSER" in said
    assert "interfaceWhitelist" in said


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("addresses", [(), ("127.0.0.1",), ("127.0.0.1", "192.168.123.15")])
def test_the_profiles_are_valid_by_fast_dds_own_schema(addresses, shared_memory, tmp_path):
    schema_path = Path(sys.prefix) / "share/fastdds/fastdds_profiles.xsd"
    if not schema_path.is_file():
        pytest.skip("no fastdds_profiles.xsd: it comes with the ros-wheels extra")
    schema = pytest.importorskip("xmlschema").XMLSchema(schema_path)
    path = written(tmp_path, "fastdds.xml", addresses, shared_memory=shared_memory)
    schema.validate(path)
    path.write_text(path.read_text().replace("userTransports", "userTransport"))
    assert not schema.is_valid(path)


CYCLONE = "from cyclonedds.domain import DomainParticipant; DomainParticipant(0); print('joined')"


def join(config: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("cyclonedds", reason="needs Cyclone DDS: pip install cyclonedds")
    environment = os.environ | {"CYCLONEDDS_URI": f"file://{config}", "ROS_DOMAIN_ID": DOMAIN}
    return subprocess.run(
        [sys.executable, "-c", CYCLONE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ()], ids=["loopback", "every-interface"])
def test_cyclone_dds_takes_its_configuration(addresses, tmp_path):
    done = join(written(tmp_path, "cyclonedds.xml", addresses))
    assert done.stdout.strip() == "joined", done.stderr
    assert "config" not in done.stderr


def test_cyclone_dds_obeys_the_interfaces_and_refuses_what_it_does_not_know(tmp_path):
    path = written(tmp_path, "cyclonedds.xml", (ELSEWHERE,))
    done = join(path)
    assert done.returncode != 0
    assert ELSEWHERE in done.stderr
    path = written(tmp_path, "cyclonedds.xml", ("127.0.0.1",))
    path.write_text(path.read_text().replace("AllowMulticast", "AllowMulticasts"))
    assert "AllowMulticasts" in join(path).stderr


@pytest.mark.parametrize("board", known("boards"))
def test_both_files_of_every_board_are_xml_with_its_addresses_and_no_other(board):
    from xml.etree import ElementTree

    config = load_board(board)
    wanted = [str(address) for address in config.dds.interfaces]
    fast, cyclone = (ElementTree.fromstring(file.text) for file in render_dds(config))
    assert [element.text for element in fast.iter("{http://www.eprosima.com}address")] == wanted
    used = [e.get("address") for e in cyclone.iter("{https://cdds.io/config}NetworkInterface") if e.get("address")]
    assert used == wanted
    transports = [element.text for element in fast.iter("{http://www.eprosima.com}type")]
    assert transports == (["UDPv4", "SHM"] if config.dds.shared_memory else ["UDPv4"])

"""udev rules: read back by a parser of udev's grammar, and matched against devices as udev would."""

import fnmatch
import re
import shutil
import subprocess

import pytest
import yaml

from robot_wm.firmware.loading import load_robot, parse, robot_yaml
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.shipped import known
from robot_wm.firmware.udev import render_udev

TOKEN = re.compile(r'\s*([A-Z]+)(?:\{([^}]+)\})?\s*(==|!=|\+=|:=|=)\s*"([^"]*)"\s*(,|$)')
MATCHES = {"SUBSYSTEM", "ACTION", "KERNEL", "NAME", "ATTRS", "DRIVER"}
ASSIGNMENTS = {"NAME", "SYMLINK", "GROUP", "MODE", "RUN", "ATTR"}

BUSES = {
    "can_legs": {
        "kind": "can",
        "bitrate": 1000000,
        "data_bitrate": 5000000,
        "usb_vendor_id": "1d50",
        "usb_product_id": "606f",
        "usb_serial": "left-1",
    },
    "can0": {"kind": "can", "bitrate": 500000},
    "servos": {"kind": "serial", "usb_vendor_id": "0403", "usb_product_id": "6014"},
    "imu": {"kind": "serial", "usb_vendor_id": "10c4", "usb_product_id": "ea60"},
    "lan": {"kind": "ethernet"},
    "onboard": {"kind": "serial"},
}


def rules(text: str) -> list[list[tuple[str, str, str, str]]]:
    """Rules as lists of (key, attribute, operator, value); AssertionError for a line that udev would not read."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        tokens, place = [], 0
        while place < len(line):
            match = TOKEN.match(line, place)
            assert match, f"not a rule at {place}: {line}"
            key, attribute, operator, value, _ = match.groups()
            assert key in (MATCHES if operator in ("==", "!=") else ASSIGNMENTS), key
            tokens.append((key, attribute or "", operator, value))
            place = match.end()
        found.append(tokens)
    return found


def plug_in(text: str, device: dict[str, str]) -> dict[str, str]:
    """What the rules assign to a device given as {"SUBSYSTEM": ..., "ATTRS{idVendor}": ..., ...}."""
    device, given = dict(device), {}
    for rule in rules(text):
        wanted = [(f"{k}{{{a}}}" if a else k, value) for k, a, op, value in rule if op == "=="]
        if all(any(fnmatch.fnmatchcase(device.get(key, ""), p) for p in value.split("|")) for key, value in wanted):
            for key, attribute, operator, value in rule:
                if operator != "==":
                    given[f"{key}{{{attribute}}}" if attribute else key] = value
                    device[key] = value
    return given


@pytest.fixture(scope="module")
def text() -> str:
    body = yaml.safe_load(robot_yaml(load_robot("cartpole"))) | {"buses": BUSES}
    (file,) = render_udev(parse(yaml.safe_dump(body, sort_keys=False), RobotConfig, origin="test"))
    assert file.goes_to == "/etc/udev/rules.d/70-robot-wm-cartpole.rules"
    return file.text


def can_adapter(serial: str) -> dict[str, str]:
    usb = {"ATTRS{idVendor}": "1d50", "ATTRS{idProduct}": "606f", "ATTRS{serial}": serial}
    return {"SUBSYSTEM": "net", "ACTION": "add", "KERNEL": "can3"} | usb


def test_a_can_adapter_gets_its_name_and_bit_rates(text):
    given = plug_in(text, can_adapter("left-1"))
    assert given["NAME"] == "can_legs"
    words = given["RUN"].split()
    assert words[:4] == ["/sbin/ip", "link", "set", "can_legs"]
    assert words[words.index("bitrate") + 1] == "1000000"
    assert words[words.index("dbitrate") + 1] == "5000000"
    assert words[words.index("fd") + 1] == "on"


def test_another_adapter_of_the_same_kind_is_left_alone(text):
    assert plug_in(text, can_adapter("right-2")) == {}


def test_a_built_in_can_keeps_its_name_and_comes_up_as_classic_can(text):
    given = plug_in(text, {"SUBSYSTEM": "net", "ACTION": "add", "KERNEL": "can0"})
    assert "NAME" not in given
    assert "bitrate 500000" in given["RUN"]
    assert "dbitrate" not in given["RUN"]


def test_serial_adapters_get_a_link_and_ftdi_chips_no_delay(text):
    usb = {"ATTRS{idVendor}": "0403", "ATTRS{idProduct}": "6014"}
    given = plug_in(text, {"SUBSYSTEM": "tty", "ACTION": "add", "KERNEL": "ttyUSB1"} | usb)
    assert (given["SYMLINK"], given["GROUP"], given["MODE"]) == ("servos", "dialout", "0660")
    given = plug_in(text, {"SUBSYSTEM": "usb-serial", "ACTION": "add", "DRIVER": "ftdi_sio"} | usb)
    assert given == {"ATTR{latency_timer}": "1"}
    usb = {"ATTRS{idVendor}": "10c4", "ATTRS{idProduct}": "ea60"}
    assert plug_in(text, {"SUBSYSTEM": "tty", "KERNEL": "ttyUSB0"} | usb)["SYMLINK"] == "imu"
    assert plug_in(text, {"SUBSYSTEM": "usb-serial", "ACTION": "add", "DRIVER": "cp210x"} | usb) == {}


def test_what_udev_cannot_know_has_no_rule(text):
    assert "lan" not in text
    assert "onboard" not in text
    assert render_udev(load_robot("a1")) == []


@pytest.mark.parametrize("name", known("robots"))
def test_the_rules_of_every_robot_parse(name):
    for file in render_udev(load_robot(name)):
        assert rules(file.text)


def test_udev_itself_accepts_the_rules(text, tmp_path):
    """By `udevadm verify`, which systemd has since 254 (Ubuntu 24.04)."""
    path = tmp_path / "70-robot-wm.rules"
    path.write_text(text)
    verify = ["udevadm", "verify", "--no-summary", str(path)]
    tool = shutil.which("udevadm")
    if tool is None or subprocess.run([tool, "verify", "--help"], capture_output=True, check=False).returncode:
        pytest.skip("no udevadm with verify here: the rules are checked where it is")
    assert subprocess.run(verify, timeout=60, check=False).returncode == 0
    path.write_text(text.replace("SYMLINK+=", "SYMLINX+="))
    assert subprocess.run(verify, timeout=60, capture_output=True, check=False).returncode != 0

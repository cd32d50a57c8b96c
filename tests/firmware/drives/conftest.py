"""A bench for drives: joints by hand, and readers of what is rendered for them."""

import csv
import io
import json
import re
import struct
import xml.etree.ElementTree as ElementTree

import pytest

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.kind import drive_kind

LEG = {
    "name": "knee",
    "bus": "can0",
    "bus_id": 3,
    "gear_ratio": 6.0,
    "position_limits": (-1.0, 2.0),
    "velocity_limit": 20.0,
    "effort_limit": 12.0,
    "kp": 20.0,
    "kd": 0.5,
    "current_limit_a": 60.0,
    "temperature_limit_c": 70.0,
    "watchdog_s": 0.1,
    "torque_constant_nm_per_a": 0.07,
    "pole_pairs": 7,
    "direction": 1,
}
SERVO = LEG | {
    "name": "elbow",
    "bus": "dxl",
    "gear_ratio": 1.0,
    "velocity_limit": 3.0,
    "effort_limit": 2.0,
    "current_limit_a": 2.3,
    "torque_constant_nm_per_a": 1.78,
    "pole_pairs": 1,
}
SETTINGS = {
    "moteus": {"board": "n1"},
    "odrive": {
        "position_limits": "mechanical",
        "thermistor_gpio": 4,
        "thermistor_r25_ohm": 10000,
        "thermistor_beta_k": 3435,
    },
    "dynamixel": {
        "model": "XM430-W350",
        "operating_mode": "position",
        "stall_torque_nm": 4.1,
        "Position P Gain": 800,
    },
    "vesc": {"position_limits": "mechanical", "timeout_brake_current_a": 5.0},
}


class Bench:
    """Makes joints, renders them, and reads the files with parsers that share nothing with the renderers."""

    settings = SETTINGS

    @staticmethod
    def joint(drive, *, settings=(), **changes):
        """A joint that the drive takes, with changes; a setting of None is left out."""
        merged = SETTINGS[drive] | dict(settings)
        body = (SERVO if drive == "dynamixel" else LEG) | changes
        return JointDrive(**body, settings={key: value for key, value in merged.items() if value is not None})

    @staticmethod
    def render(drive, *joints):
        return drive_kind(drive).render("robot", joints)

    @staticmethod
    def read_moteus(text):
        *lines, last = text.splitlines()
        assert last == "conf write"
        pairs = [re.fullmatch(r"conf set ([A-Za-z0-9_.]+) (\S+)", line).groups() for line in lines]
        assert len(dict(pairs)) == len(pairs), "a key stands there twice"
        return {key: Bench.float32(value) for key, value in pairs}

    @staticmethod
    def read_odrive(text):
        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        body = json.loads(text, parse_constant=refuse)
        return {key: Bench.float32(value) if isinstance(value, float) else value for key, value in body.items()}

    @staticmethod
    def read_vesc(text, root):
        tree = ElementTree.fromstring(text.encode())
        assert tree.tag == root
        assert len({child.tag for child in tree}) == len(tree)
        texts = {child.tag: child.text for child in tree}
        return {key: int(t) if re.fullmatch(r"-?\d+", t) else Bench.float32(t) for key, t in texts.items()}

    @staticmethod
    def read_dynamixel(text):
        """Writes in order: (id, address, bytes of the write, item)."""
        formats = {1: "<b", 2: "<h", 4: "<i"}
        writes = []
        for row in csv.DictReader(io.StringIO(text)):
            size, value = int(row["size"]), int(row["value"])
            code = formats[size] if value < 0 else formats[size].upper()
            writes.append((int(row["id"]), int(row["address"]), struct.pack(code, value), row["item"]))
        return writes

    @staticmethod
    def float32(value):
        """What a drive keeps of a number."""
        return struct.unpack("<f", struct.pack("<f", float(value)))[0]


@pytest.fixture(scope="session")
def bench():
    return Bench

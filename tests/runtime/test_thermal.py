"""Thermal zones as kernels show them, in a folder that stands for /."""

from pathlib import Path

from robot_wm.runtime.thermal import temperatures_c


def zone(root: Path, number: int, kind: str, temp: str | None) -> None:
    folder = root / f"sys/class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    if temp is not None:
        (folder / "temp").write_text(f"{temp}\n")


def test_zones_are_read_in_degrees_and_nonsense_left_out(tmp_path):
    zone(tmp_path, 0, "cpu-thermal", "51500")
    zone(tmp_path, 1, "gpu-thermal", "-256000")  # asleep
    zone(tmp_path, 2, "acpitz", "27800")
    zone(tmp_path, 10, "acpitz", "-5000")
    zone(tmp_path, 3, "cv0-thermal", None)  # refuses to be read
    zone(tmp_path, 4, "soc0-thermal", "unknown")
    assert temperatures_c(tmp_path) == {"cpu-thermal": 51.5, "acpitz": 27.8, "acpitz-10": -5.0}


def test_no_zones_no_temperatures(tmp_path):
    assert temperatures_c(tmp_path) == {}

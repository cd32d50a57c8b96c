"""planner_parity.npz: what is written comes back, with the roots from the tick's recording."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from planned import PLANS, ROOT, planner_section, with_planner

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.planner_section import PLANNER_PARITY
from robot_wm.runtime.planning.plan_recording import check_plans, read_plans, recorded_roots, write_plans


@pytest.fixture
def bundle(signed_original, tmp_path):
    with Bundle.open(with_planner(signed_original.folder, tmp_path / "planned.rwm")) as opened:
        yield opened


def test_roots_are_evenly_spaced_ticks():
    ticks = np.arange(1000, dtype=np.float32)[:, None]
    roots = recorded_roots(("next/deter",), Recording(inputs={"is_first": ticks}, outputs={"next/deter": ticks}), 4)
    assert roots["next/deter"].ravel().tolist() == [0, 250, 500, 750]


def test_round_trip_and_numpy_reads_it(bundle, tmp_path):
    plans, recording = bundle.plans(), bundle.recording()
    assert plans.plans == PLANS == recording.ticks
    for name in ROOT:
        np.testing.assert_array_equal(plans.inputs[name], recording.outputs[name])
    changed = type(plans)(plans.inputs, plans.outputs, np.arange(PLANS) % 3 == 0)
    write_plans(tmp_path / "again.npz", changed, bundle.manifest.planner.noise)
    with (tmp_path / "again.npz").open("rb") as file:
        again = read_plans(file, bundle.manifest.planner, recording, origin="again")
    np.testing.assert_array_equal(again.unsteady, changed.unsteady)
    assert set(again.outputs) == {"action", "value", "scores", "plan", "gain"}
    with np.load(tmp_path / "again.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["in/noise/plan"], plans.inputs["noise/plan"])
        assert "in/next/deter" not in arrays  # it is in parity.npz


def test_a_file_that_is_not_the_planners_is_refused(bundle):
    with zipfile.ZipFile(bundle.path / PLANNER_PARITY) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for change, naming in (
        ({name: data for name, data in content.items() if name != "unsteady.npy"}, "unsteady is missing"),
        (content | {"out/action.npy": content["out/value.npy"]}, "out/action has"),
        (content | {"in/next/deter.npy": content["out/value.npy"]}, "9 entries"),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in change.items():
                archive.writestr(name, data)
        with pytest.raises(UserError, match=naming):
            check_plans(file, bundle.manifest.planner, origin="planner_parity.npz")


def test_plans_of_another_planner_are_refused(bundle):
    section = planner_section(bundle.manifest)
    narrow = section.noise[0].model_copy(update={"shape": (1, 3, 5, 2)})
    other = section.model_copy(update={"noise": (narrow, section.noise[1])})
    with (bundle.path / PLANNER_PARITY).open("rb") as file, pytest.raises(UserError, match="in/noise/plan has"):
        check_plans(file, other, origin="planner_parity.npz")
    manifest = bundle.path / MANIFEST
    body = json.loads(manifest.read_text())
    body["planner"]["noise"][0]["shape"] = [1, 3, 5, 2]
    manifest.write_text(json.dumps(body))
    with pytest.raises(UserError, match=r"planner_parity\.npz: in/noise/plan has"):
        Bundle.open(bundle.path)


def test_without_a_planner_there_are_no_plans(signed_original):
    with Bundle.open(signed_original.folder) as opened, pytest.raises(UserError, match="has no planner; export it"):
        opened.plans()

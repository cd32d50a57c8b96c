"""The benchmark's process: what it is handed, what it prints, and what it refuses. On an emulated GPU."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17
from robot_wm.runtime.trt.bench import main, measure
from robot_wm.runtime.trt.options import BuildOptions

pytestmark = pytest.mark.usefixtures("short_timing")


@pytest.fixture
def handed_over(signed_bundle) -> list[str]:
    """The arguments that name the files of a bundle."""
    folder = signed_bundle.folder
    files = {"--graph": POLICY_OP17, "--manifest": MANIFEST, "--recording": PARITY}
    return [word for option, name in files.items() for word in (option, str(folder / name))]


@pytest.mark.usefixtures("trt")
def test_one_row_with_a_cuda_graph_and_one_without(handed_over, capsys):
    assert main([*handed_over, "--ticks", "120"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert [(row["engine"], row["precision"], row["cuda_graph"]) for row in rows] == [
        ("tensorrt", "fp32", True),
        ("tensorrt", "fp32", False),
    ]
    for row in rows:
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"]
        assert row["engine_bytes"] > 1000
        assert row["graph_error"] is None


@pytest.mark.parametrize(
    ("chosen", "builds", "told"), [(["--matrices", "2"], 1, 2), (["--matrices", "1000000"], 1, None)]
)
def test_it_builds_as_it_is_told(trt, handed_over, capsys, chosen, builds, told):
    assert main([*handed_over, "--ticks", "1", *chosen]) == 0
    assert [row["matrices"] for row in json.loads(capsys.readouterr().out)] == [told, told]
    assert len(trt.configs) == builds


def test_the_recorded_observations_are_what_is_computed(trt, signed_bundle, monkeypatch):
    from robot_wm.runtime.trt import bench

    seen: list[float] = []

    class Watched(bench.TensorRTEngine):
        def infer(self) -> None:
            seen.extend(float(values.flat[0]) for name, values in self.inputs.items() if name.startswith("obs/"))
            super().infer()

    monkeypatch.setattr(bench, "TensorRTEngine", Watched)
    monkeypatch.setattr(bench, "_WARM_UP_TICKS", 0)
    bundle = Bundle.open(signed_bundle.folder)
    recording = bundle.recording()
    fields = [name for name in recording.inputs if name.startswith("obs/")]
    frames = {name: recording.inputs[name] for name in fields}
    measure(bundle.read(), frames, "fp32", 3, BuildOptions(), state=bundle.manifest.state)
    first = [float(recording.inputs[name][tick].flat[0]) for tick in range(3) for name in fields]
    assert seen[-2 * len(first) :] == first * 2  # what activation ran before is not ours


@pytest.mark.usefixtures("trt")
def test_a_graph_without_a_bundle_is_given_its_inputs(signed_bundle, tmp_path, capsys):
    graph = tmp_path / "planner.onnx"
    graph.write_bytes(signed_bundle.folder.joinpath(POLICY_OP17).read_bytes())
    with np.load(signed_bundle.folder / PARITY) as recorded:
        frames = {name: recorded[name] for name in recorded.files if name.startswith("obs/")}
    np.savez(tmp_path / "frames.npz", **frames)
    given = ["--graph", str(graph), "--frames", str(tmp_path / "frames.npz"), "--ticks", "5"]
    assert main(given) == 0
    assert [row["cuda_graph"] for row in json.loads(capsys.readouterr().out)] == [True, False]

    (tmp_path / "frames.npz").write_bytes(b"PK no archive")
    assert main(given) == 1
    assert "frames.npz: is no .npz file of arrays" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--graph", str(graph), "--ticks", "5"])
    assert "either --manifest and --recording or --frames" in capsys.readouterr().err


def test_why_a_graph_could_not_be_captured_is_in_its_row(trt, handed_over, capsys):
    trt.cuda.capturable = False
    assert main([*handed_over, "--ticks", "1"]) == 0
    captured, queued = json.loads(capsys.readouterr().out)
    assert "cudaErrorStreamCaptureInvalidated" in captured["graph_error"]
    assert queued["graph_error"] is None


@pytest.mark.usefixtures("trt")
@pytest.mark.parametrize(
    ("change", "naming"),
    [
        ({"--graph": "nowhere.onnx"}, "nowhere.onnx: cannot read it"),
        ({"--ticks": "0"}, "--ticks must be at least 1, got 0"),
        ({"--matrices": "-1"}, "option: matrices: Input should be greater than or equal to 0"),
        ({"--matrices": "1000001"}, "option: matrices: Input should be less than or equal to 1000000"),
    ],
)
def test_bad_input_is_one_line(handed_over, change, naming, capsys):
    given = dict(zip(handed_over[::2], handed_over[1::2], strict=True)) | change
    assert main([word for pair in given.items() for word in pair]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert naming in printed.err
    assert printed.err.count("\n") == 1


def test_its_process_needs_neither_torch_nor_cryptography_nor_onnx_runtime():
    code = "import sys, robot_wm.runtime.trt.bench; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "onnx", "onnxruntime", "cryptography", "tensorrt"}.isdisjoint(done.stdout.split())

"""`robot-wm bench tick`: its engines, its options, and the process that has TensorRT."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch

from robot_wm.cli import run
from robot_wm.errors import UserError
from robot_wm.runtime.latency import LatencyRing
from robot_wm_bench import tick as bench_tick
from robot_wm_bench.agent import FRAMES, fresh_agent, random_rollout
from robot_wm_bench.tensorrt import tensorrt_rows
from robot_wm_bench.ticks import torch_tick


def bench(capsys, *arguments: str) -> dict:
    assert run(["bench", "tick", "--sizes", "nano", "--ticks", "60", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_engines_precisions_and_observations_are_chosen(capsys):
    result = bench(capsys, "--engine", "onnxruntime,controller", "--precision", "fp32,fp16", "--obs", "image,proprio")
    rows = [(row["obs"], row["engine"], row["precision"]) for row in result["rows"]]
    assert rows == [
        (obs, engine, precision)
        for obs in ("image", "proprio")
        for engine, precision in (("onnxruntime", "fp32"), ("onnxruntime", "fp16"), ("controller", "fp32"))
    ]
    assert set(result["controller_over_onnxruntime"]) == {"nano image", "nano proprio"}
    assert "torch_eager_over_controller" not in result


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("--sizes", "nano,giant"), "giant"),
        (("--engine", "abacus"), "abacus"),
        (("--precision", "fp8"), "fp8"),
        (("--obs", "smell"), "smell"),
        (("--ticks", "0"), "ticks"),
        pytest.param(("--device", "cuda"), "CUDA", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="GPU")),
    ],
)
def test_bad_options_are_one_line(capsys, arguments, naming):
    assert run(["bench", "tick", *arguments]) == 2
    printed = capsys.readouterr()
    assert naming in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_the_engines_beside_tensorrt_may_tick_less(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "robot_wm_bench.tensorrt.tensorrt_rows", lambda *files, ticks, **options: asked.append(ticks) or []
    )
    rings = []
    monkeypatch.setattr("robot_wm.runtime.latency.LatencyRing", lambda n: rings.append(n) or LatencyRing(n))
    result = bench(capsys, "--engine", "tensorrt,onnxruntime", "--other-ticks", "7")
    assert (result["ticks"], result["other_ticks"]) == (60, 7)
    assert (asked, rings) == ([60], [7])
    bench(capsys, "--engine", "tensorrt,onnxruntime")
    assert (asked, rings) == ([60, 60], [7, 60])
    monkeypatch.setattr(bench_tick, "_OTHER_TICKS", 9)
    bench(capsys, "--engine", "tensorrt,onnxruntime")
    assert (asked, rings) == ([60, 60, 60], [7, 60, 9])


def test_ratios_are_of_float32_and_of_the_captured_graph():
    def row(engine, p50_us, **other):
        return {"size": "1m", "obs": "proprio", "engine": engine, "precision": "fp32", "p50_us": p50_us, **other}

    rows = [
        row("torch_eager", 1000.0),
        row("tensorrt", 50.0, cuda_graph=True),
        row("tensorrt", 125.0, cuda_graph=False),
        row("tensorrt", 25.0, cuda_graph=True) | {"precision": "fp16"},
    ]
    assert bench_tick.ratios(rows) == {"torch_eager_over_tensorrt": {"1m": 20.0}}


def test_torch_carries_its_state_and_compiled_torch_is_the_same_agent(monkeypatch):
    agent, spec = fresh_agent("nano", "proprio")
    rollout = random_rollout(agent, spec)
    states: dict[bool, list] = {False: [], True: []}
    plain = agent.step
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    for compiled, seen in states.items():

        def watched(obs, is_first, state, *noise, seen=seen):
            seen.append(state)
            return plain(obs, is_first, state, *noise)

        monkeypatch.setattr(agent, "step", watched)
        with torch.inference_mode():
            tick = torch_tick(agent, rollout, "cpu", compiled=compiled)
            assert all(tick(number) > 0 for number in (0, 1, FRAMES))
        assert not seen[0].deter.any()
        assert seen[2].deter.any()  # the first tick draws a latent, the second one moves by it
    for one, two in zip(states[False], states[True], strict=True):
        torch.testing.assert_close(one.deter, two.deter, rtol=0, atol=0)


@pytest.fixture
def interpreter(tmp_path) -> Path:
    """An "interpreter" that prints a remark and then its arguments, as one row."""
    path = tmp_path / "python"
    path.write_text(
        "#!/usr/bin/env python3\nimport json, sys\nprint('a remark of some library')\n"
        "print(json.dumps([{'arguments': sys.argv[1:]}]))\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_files_are_handed_to_another_interpreter(interpreter):
    files = Path("graph.onnx"), {"manifest": Path("manifest.json"), "recording": Path("parity.npz")}
    (row,) = tensorrt_rows(*files, precision="fp16", ticks=7, matrices=0, python=interpreter)
    assert row["arguments"][0] == "-c"
    library, *options = row["arguments"][2:]
    assert (Path(library) / "robot_wm" / "runtime" / "trt" / "bench.py").exists()
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--graph": "graph.onnx",
        "--manifest": "manifest.json",
        "--recording": "parity.npz",
        "--precision": "fp16",
        "--ticks": "7",
        "--matrices": "0",
    }
    (row,) = tensorrt_rows(*files, precision="fp16", ticks=7, python=interpreter)
    assert "--matrices" not in row["arguments"]


def test_what_that_interpreter_complains_about_is_one_line(exported, tmp_path):
    inputs = {"manifest": tmp_path / "nowhere.json", "recording": exported.path / "parity.npz"}
    files = exported.path / "policy.op17.onnx", inputs
    with pytest.raises(UserError, match=r"^--engine tensorrt: .*nowhere\.json: cannot read it: No such file"):
        tensorrt_rows(*files, precision="fp32", ticks=1, python=None)
    with pytest.raises(UserError, match=r"--tensorrt-python .*: cannot run it"):
        tensorrt_rows(*files, precision="fp32", ticks=1, python=tmp_path / "no_python")

"""What a build asks of TensorRT, by an emulated builder; and how far it says it is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from emulated_network import DataType, ICastLayer, MatrixOperation, Network, Tensor
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.trt.build import build_plan
from robot_wm.runtime.trt.options import ALL_MATRICES, BuildOptions
from robot_wm.runtime.trt.progress import Share


@pytest.fixture
def graph(wide_agent) -> bytes:
    return wide_agent[0]


def test_a_float32_build_is_exact_arithmetic_without_foreign_libraries(trt, graph):
    built = build_plan(graph, "fp32", BuildOptions(workspace_mib=64, optimization_level=5))
    (config,) = trt.configs
    assert built.plan.startswith(graph)
    assert built.seconds > 0
    assert built.matrices == ALL_MATRICES
    assert trt.network_flags == 0b1
    assert config.flags == []
    assert config.cleared == ["TF32"]
    assert config.tactic_sources == 0
    assert config.limits == {"workspace": 64 * 2**20}
    assert config.builder_optimization_level == 5
    assert config.progress_monitor is None


def test_precision_is_flags_on_8_6_and_the_graphs_own_types_later(trt, graph):
    for precision, flags in (("fp16", ["FP16"]), ("int8", ["INT8"])):  # in half int8's value would be NaN
        build_plan(graph, precision, BuildOptions(version_compatible=True))
        assert set(trt.configs[-1].flags) == {*flags, "OBEY_PRECISION_CONSTRAINTS", "VERSION_COMPATIBLE"}
    trt.grow()
    for precision in ("fp32", "fp16", "int8"):
        build_plan(graph, precision, BuildOptions())
        assert trt.configs[-1].flags == []
        assert trt.network_flags == 0b11
        assert trt.configs[-1].cleared == ["TF32"]


@pytest.mark.parametrize(
    ("given_", "used"),
    [(None, b""), (b"of this GPU", b"of this GPU"), (b"rubbish", b""), (b"of another GPU", b"")],
)
def test_timings_of_an_earlier_build_are_used_if_they_fit(trt, graph, given_, used):
    built = build_plan(graph, "fp32", BuildOptions(), timing_cache=given_)
    assert trt.configs[-1].timings.content == used
    assert built.timing_cache == b"timings after " + used


@pytest.mark.parametrize("names_nodes", [False, True])
def test_a_node_that_cannot_be_parsed_is_named(trt, graph, names_nodes):
    trt.names_nodes = names_nodes
    model = onnx.load_from_string(graph)
    model.graph.node[3].name = "refused"
    operator = model.graph.node[3].op_type
    with pytest.raises(UserError, match=rf"policy: .* cannot parse node 3 refused \[{operator}\]: no importer for it$"):
        build_plan(model.SerializeToString(), "fp32", BuildOptions(), origin="policy")


def test_a_build_that_fails_says_why(trt, graph):
    trt.build_errors[0] = "out of memory"
    with pytest.raises(UserError, match=r"^policy: TensorRT 8\.6\.0 cannot build it: out of memory$"):
        build_plan(graph, "fp32", BuildOptions(), origin="policy")


@pytest.mark.parametrize(("matrices", "helps"), [(None, True), (3, True), (0, False)])
def test_where_products_are_taken_for_attention_it_says_what_may_help(trt, graph, matrices, helps):
    reason = "Could not find any implementation for node {ForeignNode[/tick/h/Reshape.../tick/Concat]}."
    trt.build_errors[0] = reason
    with pytest.raises(UserError) as raised:
        build_plan(graph, "fp32", BuildOptions(matrices=matrices), origin="policy")
    said, _, hint = str(raised.value).partition("; ")
    assert said == f"policy: TensorRT 8.6.0 cannot build it: {reason}"
    assert ("NVIDIA/TensorRT#3930" in hint and "--matrices 0 may help" in hint) == helps
    assert bool(hint) == helps
    assert "\n" not in hint


def one_product(network: Network) -> None:
    """half(x) [1, 4] times [4, 3] in half, and the sine of that."""
    cast = network.add("CAST", [Tensor("x", (1, 4))], 1, 4, made="half", cls=ICastLayer, to_type=DataType.HALF)
    weights = np.arange(12, dtype=np.float16).reshape(4, 3)
    matrix = network.add("CONSTANT", [], 4, 3, made="matrix", weights=weights)
    facts = {"op0": MatrixOperation.NONE, "op1": MatrixOperation.NONE}
    given = [layer.get_output(0) for layer in (cast, matrix)]
    product = network.add("MATRIX_MULTIPLY", given, 1, 3, made="product", **facts)
    network.add("UNARY", [product.get_output(0)], 1, 3, made="sine")


@pytest.mark.parametrize(("matrices", "is_sum"), [(0, True), (1, False), (None, False)])
def test_products_become_sums_as_it_is_told_and_are_held_at_the_types_of_the_graph(trt, graph, matrices, is_sum):
    trt.parsed = one_product
    built = build_plan(graph, "fp16", BuildOptions(matrices=matrices))
    assert built.matrices == (ALL_MATRICES if matrices is None else matrices)
    (network,) = trt.networks  # built, so its weights were there
    held = {layer.name: layer.precision for layer in network.records if layer.precision is not None}
    half, single = DataType.HALF, DataType.FLOAT
    sums = {"product [row terms]": half, "product [row sum]": single, "product [row result]": single} if is_sum else {}
    assert held == {"product": half, "sine": half, **sums}
    assert (network.records[3].inputs[0].name == "product") != is_sum


def test_what_is_no_plain_graph_never_reaches_the_parser(trt):
    with pytest.raises(UserError, match="policy: not an ONNX model"):
        build_plan(b"", "fp32", BuildOptions(), origin="policy")
    assert trt.configs == []


def test_progress_is_told_where_tensorrt_tells_it_and_an_interrupt_ends_the_build(trt, graph):
    told = []
    build_plan(graph, "fp32", BuildOptions(), on_progress=lambda share, what: told.append((share, what)))
    assert told == []  # 8.6 has no such thing
    trt.grow()
    build_plan(graph, "fp32", BuildOptions(), on_progress=lambda share, what: told.append((share, what)))
    assert [share for share, _ in told] == [0.0, 0.5, 1.0, 1.0]

    def interrupt(share, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(graph, "fp32", BuildOptions(), on_progress=interrupt)


def test_phases_within_phases_by_hand():
    share = Share()
    assert share.begin("build", None, 4) == 0.0
    assert share.begin("time kernels", "build", 10) == 0.0
    assert share.step("time kernels", 4) == pytest.approx(0.125)  # half of the first of four
    assert share.end("time kernels") == pytest.approx(0.125)
    assert share.step("build", 0) == pytest.approx(0.25)
    assert share.step("unknown", 3) == pytest.approx(0.25)
    assert share.end("build") == 1.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("begin", "step", "end")), st.integers(0, 5))))
def test_the_share_never_falls_and_stays_within_its_bounds(events):
    share, last = Share(), 0.0
    for name, kind, number in events:
        parent = {"a": None, "b": "a", "c": "b"}[name]
        if kind == "begin":
            now = share.begin(name, parent, number)
        else:
            now = share.step(name, number) if kind == "step" else share.end(name)
        assert last <= now <= 1.0
        last = now

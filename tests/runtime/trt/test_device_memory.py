"""Tensors lie side by side, aligned, and no two of them share a byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.trt.device_memory import ALIGNMENT, Layout, Tensor

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
tensors = st.lists(
    st.tuples(st.text("abc/", min_size=1, max_size=4), shapes, st.sampled_from((np.float32, np.uint8))),
    max_size=8,
    unique_by=lambda entry: entry[0],
).map(lambda entries: [Tensor(*entry) for entry in entries])


@given(tensors)
def test_views_cover_their_own_bytes_only(chosen):
    layout = Layout.of(chosen)
    block = np.zeros(layout.size // 4, dtype=np.float32)
    views = layout.views(block)
    assert list(views) == [tensor.name for tensor in chosen]
    for number, tensor in enumerate(chosen):
        view = views[tensor.name]
        assert (view.shape, view.dtype) == (tensor.shape, tensor.dtype)
        assert view.nbytes == tensor.size_bytes
        view[...] = number + 1
    for number, tensor in enumerate(chosen):  # nothing was overwritten by what came later
        assert (views[tensor.name] == number + 1).all()


@given(tensors, st.integers(0, 2**20).map(lambda pages: pages * ALIGNMENT))
def test_addresses_are_aligned_and_agree_with_the_views(chosen, base):
    layout = Layout.of(chosen)
    assert layout.size % ALIGNMENT == 0
    assert layout.size > 0
    block = np.zeros(layout.size // 4, dtype=np.float32)
    views = layout.views(block)
    for name, address in layout.addresses(base).items():
        assert address % ALIGNMENT == 0
        assert address - base == views[name].ctypes.data - block.ctypes.data


def test_a_layout_by_hand():
    layout = Layout.of(
        [Tensor("a", (1, 3), np.float32), Tensor("b", (1, 257), np.uint8), Tensor("c", (1,), np.float32)]
    )
    assert layout.offsets == {"a": 0, "b": 256, "c": 768}
    assert layout.size == 1024
    assert Layout.of([]).size == ALIGNMENT


def test_equal_states_lie_equally_in_both_directions():
    """The engine carries small states over in one copy: that needs one order and one place for both names."""
    state = [("deter", (1, 100)), ("action", (1, 12))]
    given_, made = (
        Layout.of(
            [*(Tensor(f"{prefix}/{name}", shape, np.float32) for name, shape in state), Tensor("x", size, np.float32)]
        )
        for prefix, size in (("state", (1, 5)), ("next", (1, 999)))
    )
    for name, _ in state:
        assert given_.offsets[f"state/{name}"] == made.offsets[f"next/{name}"]


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 24), (np.uint8, 6)])
def test_size_in_bytes(dtype, size):
    assert Tensor("t", (2, 3), dtype).size_bytes == size

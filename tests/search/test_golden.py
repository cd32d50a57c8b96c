"""Searches are mctx's: visit counts, topology and actions exactly, weights and values to 1e-5, in NumPy and torch."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tabular import Tables

from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.puct import muzero_policy
from robot_wm.search.qtransforms import qtransform_by_parent_and_siblings, qtransform_completed_by_mix_value

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
STATES = 48  # as make_golden.py has it
POLICIES = {
    "gumbel": (gumbel_muzero_policy, qtransform_completed_by_mix_value, {}),
    "muzero": (muzero_policy, qtransform_by_parent_and_siblings, {"dirichlet_fraction": 0.0, "temperature": 0.0}),
}
LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}


@pytest.fixture(scope="module")
def golden():
    files = {policy: np.load(DATA / f"{policy}.npz") for policy in POLICIES}

    def of(policy, name):
        return {key.split("/")[1]: array for key, array in files[policy].items() if key.startswith(f"{name}/")}

    return of


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("policy", "name"), [(policy, name) for policy in POLICIES for name in CASES[policy]])
def test_a_search_is_that_of_mctx(golden, policy, name, library):
    case, want, array = CASES[policy][name], golden(policy, name), LIBRARIES[library]
    tables = Tables.random(int(want["seed"]), states=STATES, actions=case.get("actions", 5))
    if "discount" in case:
        tables = tables._replace(discount=np.full_like(tables.discount, case["discount"]))
    if case.get("zeros"):
        tables = tables._replace(
            **{field: np.zeros_like(getattr(tables, field)) for field in ("reward", "value", "prior_logits")}
        )
    tables = Tables(*map(array, tables))
    function, qtransform, arguments = POLICIES[policy]
    given = ("max_depth", "max_num_considered_actions", "gumbel_scale", "pb_c_init", "pb_c_base")
    arguments = arguments | {field: case[field] for field in given if field in case}
    arguments |= {field: array(want[field]) for field in ("gumbel", "invalid_actions") if field in want}
    if "qtransform" in case:
        arguments["qtransform"] = partial(qtransform, **case["qtransform"])

    state = array(want["state"].astype(np.int64))
    out = function(tables.root(state), tables.recurrent_fn, case.get("simulations", 16), **arguments)

    summary = out.search_tree.summary()
    for field in ("children_index", "parents", "action_from_parent", "children_visits"):
        np.testing.assert_array_equal(np.asarray(getattr(out.search_tree, field)), want[field], err_msg=field)
    np.testing.assert_array_equal(np.asarray(summary.visit_counts), want["visit_counts"])
    np.testing.assert_array_equal(np.asarray(out.action), want["action"])
    for field in ("node_values", "children_values"):
        np.testing.assert_allclose(np.asarray(getattr(out.search_tree, field)), want[field], atol=1e-5, err_msg=field)
    np.testing.assert_allclose(np.asarray(out.action_weights), want["action_weights"], atol=1e-5)
    np.testing.assert_allclose(np.asarray(summary.qvalues), want["qvalues"], atol=1e-5)
    assert np.asarray(out.action_weights).dtype == np.float32

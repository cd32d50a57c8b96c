"""Make ``data/*.npz`` with mctx 0.0.71, which is no dependency of ours: see data/README.md. Tests do not run this."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import mctx
import numpy as np
from tabular import Tables

from robot_wm.search import gumbel as our_gumbel
from robot_wm.search import puct as our_puct
from robot_wm.search.array_library import softmax

DATA = Path(__file__).parent / "data"
STATES = 48
MARGIN = 1e-5  # between the best and the next of a decision's scores, or nobody could ask for equal trees
KEPT = ("children_index", "parents", "action_from_parent", "children_visits", "node_values", "children_values")

# What differs from a plain search of 16 simulations with 5 actions, by name.
GUMBEL = {
    f"{actions}_actions_{simulations}_{'unlimited' if depth is None else f'depth_{depth}'}{'_masked' * bool(mask)}": {
        "actions": actions,
        "simulations": simulations,
        "max_depth": depth,
        "mask": mask,
        "batch": 1 + place % 5,
    }
    for place, (actions, simulations, depth, mask) in enumerate(
        itertools.product((5, 16), (16, 32, 50), (None, 5), (None, 0.4))
    )
}
GUMBEL |= {
    "one_action": {"actions": 1, "batch": 2},
    "depth_1": {"max_depth": 1, "simulations": 32},
    "depth_2": {"max_depth": 2, "simulations": 50, "batch": 3},
    "one_simulation": {"simulations": 1, "batch": 3},
    "fewer_simulations_than_considered": {"actions": 16, "simulations": 6, "batch": 3},
    "few_considered": {"actions": 16, "simulations": 32, "max_num_considered_actions": 3, "batch": 2},
    "one_considered": {"actions": 16, "simulations": 12, "max_num_considered_actions": 1},
    "all_invalid": {"mask": 1.0, "simulations": 8, "batch": 2},
    "no_noise": {"actions": 16, "simulations": 32, "gumbel_scale": 0.0, "batch": 3},
    "scaled_noise": {"simulations": 32, "gumbel_scale": 3.0, "batch": 2},
    "raw_value": {"simulations": 32, "qtransform": {"use_mixed_value": False}, "batch": 2},
    "not_rescaled": {"simulations": 32, "qtransform": {"rescale_values": False, "value_scale": 0.05}, "batch": 2},
    "wide_floor": {"simulations": 32, "qtransform": {"epsilon": 3.0, "maxvisit_init": 9.0}, "batch": 2},
    "all_ends": {"simulations": 32, "discount": 0.0, "batch": 2},
    "all_equal": {"simulations": 32, "zeros": True, "batch": 2},
}
MUZERO = {name: case for name, case in GUMBEL.items() if "actions_" in name} | {
    "one_action": {"actions": 1, "batch": 2},
    "depth_1": {"max_depth": 1, "simulations": 32},
    "depth_2": {"max_depth": 2, "simulations": 50, "batch": 3},
    "one_simulation": {"simulations": 1, "batch": 3},
    "all_invalid": {"mask": 1.0, "simulations": 8, "batch": 2},
    "explorer": {"simulations": 50, "pb_c_init": 4.0, "pb_c_base": 20.0, "batch": 2},
    "wide_floor": {"simulations": 32, "qtransform": {"epsilon": 3.0}, "batch": 2},
    "all_ends": {"simulations": 32, "discount": 0.0, "batch": 2},
}


def tables(case: dict, seed: int) -> Tables:
    """The model of a case."""
    made = Tables.random(seed, states=STATES, actions=case.get("actions", 5))
    if "discount" in case:
        made = made._replace(discount=np.full_like(made.discount, case["discount"]))
    if case.get("zeros"):
        made = made._replace(
            **{name: np.zeros_like(getattr(made, name)) for name in ("reward", "value", "prior_logits")}
        )
    return made


def searched(policy: str, case: dict, seed: int) -> dict | None:
    """Inputs and mctx's outputs of a case; None where one of our search's decisions is too close."""
    model = tables(case, seed)
    rng = np.random.default_rng(seed)
    batch, actions = case.get("batch", 1), case.get("actions", 5)
    state = rng.integers(0, STATES, batch)
    invalid = None if case.get("mask") is None else rng.random((batch, actions)) < case["mask"]
    common = {"num_simulations": case.get("simulations", 16), "max_depth": case.get("max_depth")}
    common |= {
        name: case[name]
        for name in ("max_num_considered_actions", "gumbel_scale", "pb_c_init", "pb_c_base")
        if name in case
    }
    key = jax.random.PRNGKey(seed)
    device = jax.tree.map(jax.numpy.asarray, model)
    fn = {"gumbel": mctx.gumbel_muzero_policy, "muzero": mctx.muzero_policy}[policy]
    theirs, ours = dict(common), dict(common)
    inputs = {"seed": seed, "state": state}
    if policy == "gumbel":  # as mctx draws it
        inputs["gumbel"] = np.asarray(jax.random.gumbel(jax.random.split(key)[1], (batch, actions), np.float32))
        ours["gumbel"] = inputs["gumbel"]
    else:
        for arguments in (theirs, ours):
            arguments |= {"dirichlet_fraction": 0.0, "temperature": 0.0}
    if "qtransform" in case:
        name = {"gumbel": "qtransform_completed_by_mix_value", "muzero": "qtransform_by_parent_and_siblings"}[policy]
        theirs["qtransform"] = partial(getattr(mctx, name), **case["qtransform"])
        ours["qtransform"] = partial(
            getattr(our_gumbel if policy == "gumbel" else our_puct, name), **case["qtransform"]
        )
    if invalid is not None:
        inputs["invalid_actions"] = invalid
    may_tie = case.get("zeros") or case.get("mask") == 1.0
    if not may_tie and least_margin(policy, model, state, invalid, ours) < MARGIN:
        return None

    def step(_params, _key, action, at):
        after = device.following[at, action]
        return mctx.RecurrentFnOutput(
            reward=device.reward[at, action],
            discount=device.discount[at, action],
            prior_logits=device.prior_logits[after],
            value=device.value[after],
        ), after

    root = mctx.RootFnOutput(
        prior_logits=device.prior_logits[state], value=device.value[state], embedding=jax.numpy.asarray(state)
    )
    out = jax.jit(
        lambda key: fn(
            None, key, root, step, invalid_actions=None if invalid is None else jax.numpy.asarray(invalid), **theirs
        )
    )(key)
    tree = out.search_tree
    arrays = {name: np.asarray(getattr(tree, name)) for name in KEPT}
    arrays |= {"action": np.asarray(out.action), "action_weights": np.asarray(out.action_weights)}
    arrays |= {"visit_counts": np.asarray(tree.summary().visit_counts), "qvalues": np.asarray(tree.summary().qvalues)}
    return inputs | arrays


def least_margin(policy: str, model: Tables, state, invalid, arguments: dict) -> float:
    """Between the best and the next of any decision that our search takes for these arguments."""
    margins = [np.inf]

    def watch(scores, mask) -> None:
        scores = scores if mask is None else np.where(mask, -np.inf, scores)
        if scores.shape[-1] > 1:
            best = np.sort(scores, -1)[:, ::-1]
            clear = np.isfinite(best[:, 1])
            margins.append(np.min((best[:, 0] - best[:, 1])[clear], initial=np.inf))

    if policy == "gumbel":
        argmax, interior = our_gumbel.masked_argmax, our_gumbel.interior_action

        def root_choice(scores, mask):
            watch(scores, mask)
            return argmax(scores, mask)

        def interior_choice(node, qvalues):
            visits = node.visit_counts
            watch(softmax(node.prior_logits + qvalues) - visits / (1 + visits.sum(-1, keepdims=True)), None)
            return interior(node, qvalues)

        with (
            mock.patch.object(our_gumbel, "masked_argmax", root_choice),
            mock.patch.object(our_gumbel, "interior_action", interior_choice),
        ):
            our_gumbel.gumbel_muzero_policy(model.root(state), model.recurrent_fn, invalid_actions=invalid, **arguments)
        return float(min(margins))

    scored = our_puct.puct_scores

    def scores_of(*args, **kwargs):
        scores = scored(*args, **kwargs)
        watch(scores, None)
        return scores

    with mock.patch.object(our_puct, "puct_scores", scores_of):
        out = our_puct.muzero_policy(model.root(state), model.recurrent_fn, invalid_actions=invalid, **arguments)
    watch(out.action_weights, None)  # mctx draws between equal counts
    return float(min(margins))


def main() -> None:
    """Write one file for each policy: ``cases.json`` says the arguments, arrays are named ``case/array``."""
    DATA.mkdir(exist_ok=True)
    for policy, cases in (("gumbel", GUMBEL), ("muzero", MUZERO)):
        kept: dict[str, np.ndarray] = {}
        for number, (name, case) in enumerate(cases.items()):
            seeds = range(1000 * number, 1000 * number + 300)
            arrays = next((arrays for seed in seeds if (arrays := searched(policy, case, seed)) is not None), None)
            if arrays is None:
                raise SystemExit(f"{policy} {name}: every seed has a decision closer than {MARGIN}")
            print(f"{policy} {name}: seed {arrays['seed']}", flush=True)
            kept |= {f"{name}/{key}": small(value) for key, value in arrays.items()}
        np.savez_compressed(DATA / f"{policy}.npz", **kept)
    (DATA / "cases.json").write_text(json.dumps({"gumbel": GUMBEL, "muzero": MUZERO}, indent=1) + "\n")


def small(value) -> np.ndarray:
    """Indices and counts in 16 bits."""
    array = np.asarray(value)
    return array.astype(np.int16) if array.dtype.kind in "iu" and array.ndim else array


if __name__ == "__main__":
    main()

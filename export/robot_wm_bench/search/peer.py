"""mctx's search, jitted, over the plain model: what the planners are put beside.

Shape letters: B = 1 roots, L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np

from robot_wm_bench.search.models import ACTIONS, DISCOUNT, LATENT, PlainModel
from robot_wm_bench.search.plans import ROOTS, Timed


def mctx_plan(model: PlainModel, simulations: int, depth: int) -> Timed:
    """``mctx.gumbel_muzero_policy`` on the CPU, on as many threads as JAX takes; ImportError where there is no mctx."""
    import jax
    import mctx
    from jax import numpy as jnp

    weights = {name: jnp.asarray(value.detach().numpy()) for name, value in model.weights.items()}

    def predict(latent: Any) -> tuple[Any, Any]:
        hidden = jax.nn.relu(jax.nn.relu(latent @ weights["first"]) @ weights["second"])
        return hidden @ weights["logits"], (hidden @ weights["critic"])[:, 0]

    def recurrent(_: Any, __: Any, action: Any, latent: Any) -> tuple[Any, Any]:
        hidden = jax.nn.relu(latent @ weights["latent_in"] + weights["action_in"][action])
        hidden = jax.nn.relu(hidden @ weights["dynamics"])
        after = jnp.tanh(hidden @ weights["out"])
        logits, value = predict(after)
        reward = (hidden @ weights["reward"])[:, 0]
        discount = jnp.full_like(reward, DISCOUNT)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), after

    @jax.jit
    def search(key: Any, latent: Any) -> Any:
        logits, value = predict(latent)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=latent)
        return mctx.gumbel_muzero_policy(
            None, key, root, recurrent, num_simulations=simulations, max_depth=depth, max_num_considered_actions=16
        ).action

    key = jax.random.PRNGKey(0)
    latents = np.random.default_rng(0).random((ROOTS, 1, LATENT), dtype=np.float32)

    def plan(number: int) -> int:
        begin_ns = perf_counter_ns()
        search(key, latents[number % ROOTS]).block_until_ready()
        return perf_counter_ns() - begin_ns

    return Timed("mctx", "jax", plan, min(ACTIONS, 16), simulations, depth)

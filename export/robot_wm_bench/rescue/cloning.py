"""An actor of sbx learns a teacher's actions by heart, and a little noise to explore by."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from robot_wm_bench.rescue.experience import Experience

_CHUNK = 250  # updates that are compiled and called together


class Cloning:
    """Supervised updates of ``model``'s actor: SAC's, and CrossQ's with its running statistics of batches.

    The loss is the squared error of the mode, which is compared in actions' own unit, and the squared distance of the
    Gaussian's log standard deviation, before the tanh, from that of ``noise``. The optimiser is its own, so that the
    algorithm begins with its own moments at zero.
    """

    def __init__(self, model: Any, *, noise: float, learning_rate: float, batch_size: int, seed: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._rng = np.random.default_rng(seed)
        optimizer = optax.adam(learning_rate)
        self._moments = optimizer.init(model.policy.actor_state.params)
        target = float(np.log(noise))

        def loss(params: Any, state: Any, seen: jax.Array, label: jax.Array) -> tuple[jax.Array, Any]:
            dist, changed = _forward(state, params, seen)
            spread = jnp.log(dist.distribution.stddev()) - target
            return ((dist.mode() - label) ** 2).mean() + 0.01 * (spread**2).mean(), changed

        def update(carry: tuple[Any, Any], batch: tuple[jax.Array, jax.Array]) -> tuple[tuple[Any, Any], jax.Array]:
            state, moments = carry
            (value, changed), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, state, *batch)
            changes, moments = optimizer.update(gradients, moments)
            state = state.replace(params=optax.apply_updates(state.params, changes), **changed)
            return (state, moments), value

        def chunk(state: Any, moments: Any, seen: jax.Array, label: jax.Array, rows: jax.Array) -> Any:
            def one(carry: Any, picked: jax.Array) -> Any:
                return update(carry, (seen[picked], label[picked]))

            return jax.lax.scan(one, (state, moments), rows)

        self._chunk = jax.jit(chunk)

    def run(self, experience: Experience, updates: int) -> float:
        """``updates``, rounded up to whole chunks, on ``experience``; returns the last chunk's mean loss."""
        seen, label = jnp.asarray(experience.seen), jnp.asarray(experience.label)
        losses = np.zeros(1)
        for _ in range(-(-updates // _CHUNK)):
            rows = self._rng.integers(len(experience), size=(_CHUNK, self._batch_size))
            (state, self._moments), losses = self._chunk(
                self._model.policy.actor_state, self._moments, seen, label, jnp.asarray(rows)
            )
            self._model.policy.actor_state = state
        return float(np.mean(losses))


def _forward(state: Any, params: Any, seen: jax.Array) -> tuple[Any, dict[str, Any]]:
    """The policy's distribution at ``seen`` [B, D], and what beside ``params`` changes of the state."""
    if not hasattr(state, "batch_stats"):
        return state.apply_fn(params, seen), {}
    variables = {"params": params, "batch_stats": state.batch_stats}
    return state.apply_fn(variables, seen, mutable=["batch_stats"], train=True)

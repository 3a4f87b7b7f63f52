"""The loop over time of a recurrent layer, plain and with one product for the gradient of each weight matrix.

Shapes: T time steps, B batch, D inputs, H hidden units, G columns of the stacked kernels (H times the blocks of
weights).

The derivative of `lax.scan` adds a [D + H, G] gradient to its carry in every backward step. But with h_{t-1} known
from the forward pass, the tangents dx_t W + x_t dW + h_{t-1} dU of all steps are a few large products in front of a
loop that is linear in them, and transposing those gives each weight's gradient as one product behind the backward
loop. `recurrence` says so to JAX in a `custom_jvp` rule: forward mode, reverse mode, their compositions and `vmap`
all follow from it.

On CPU it also pays that little is kept for the way back (one number for each path through a cell, see `Step`), that
both products of a step are one where only their sum counts, that the backward loop multiplies with a transposed copy
of U, and that sigmoids are written with tanh, one function instead of exp and a division.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxdl import loops
from jaxdl.types import Array

Carry = Any  # float arrays [B, H], the last of which is the state h that is multiplied with U


class Weights(NamedTuple):
    """What a cell multiplies with, its gates side by side."""

    input: Array  # W [D, G]
    recurrent: Array  # U [H, G]
    bias: Array | None = None  # [G], beside x W
    recurrent_bias: Array | None = None  # [G], beside h U


class Step(NamedTuple):
    """A cell between its products: elementwise, with its derivative in closed form."""

    # (sums, carry) -> (new carry, coefficients of the derivative)
    advance: Callable[[tuple[Array, ...], Carry], tuple[Carry, tuple[Array, ...]]]
    # (coefficients, tangents of the sums, tangent of the carry) -> tangent of the new carry; linear in the last two
    tangent: Callable[[tuple[Array, ...], tuple[Array, ...], Carry], Carry]
    # Whether x W and h U only count as their sum: then sums = (x W + h U + b,). Otherwise they do not in the last H
    # columns, those of a candidate n: sums = (x W + h U + b + d of the others, x W_n + b_n, h U_n + d_n).
    joined: bool


def fast_sigmoid(x: Array) -> Array:
    """The logistic function to 1e-7, without exp."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def hidden(carry: Carry) -> Array:
    """The state that the cell multiplies with its recurrent kernel."""
    return jax.tree.leaves(carry)[-1]


def keep_masked(mask: Array | None, new: Any, old: Any) -> Any:
    """`new` [B, ...] where the mask [B] holds, `old` elsewhere, leaf by leaf."""
    if mask is None:
        return new

    def keep(new, old):
        return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)

    return jax.tree.map(keep, new, old)


def scan(
    body: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, xs: Any, *, reverse: bool, convolves: bool
) -> tuple[Carry, Any]:
    """`lax.scan`, or the loop that keeps convolutions and their gradients fast on CPU."""
    if not convolves:
        return lax.scan(body, carry, xs, reverse=reverse)
    turn = partial(jax.tree.map, partial(jnp.flip, axis=0)) if reverse else lambda xs: xs
    carry, ys = loops.scan(body, carry, turn(xs), differentiated=True)
    return carry, turn(ys)


def _plus(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + bias[None]


def _split(x: Array, last: int) -> list[Array]:
    """All columns but the last so many, and those."""
    return jnp.split(x, [x.shape[-1] - last], axis=-1)


def _run(
    step: Step, reverse: bool, weights: Weights, carry: Carry, xs: Array, mask: Array | None, keep: bool
) -> tuple[Carry, Array, Any]:
    """The last carry, the states after each step, and for the derivative the coefficients of each."""
    kernel = jnp.concatenate([weights.input, weights.recurrent]) if step.joined else None

    def body(carry, inputs):
        x, m = inputs
        h = hidden(carry)
        if kernel is not None:
            sums = (_plus(jnp.concatenate([x, h], axis=-1) @ kernel, weights.bias),)
        else:
            u, u_n = _split(_plus(x @ weights.input, weights.bias), h.shape[-1])
            q, q_n = _split(_plus(h @ weights.recurrent, weights.recurrent_bias), h.shape[-1])
            sums = (u + q, u_n, q_n)
        new, coefficients = step.advance(sums, carry)
        new = keep_masked(m, new, carry)
        return new, (hidden(new), coefficients if keep else None)

    carry, (states, coefficients) = lax.scan(body, carry, (xs, mask), reverse=reverse)
    return carry, states, coefficients


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def recurrence(
    step: Step, reverse: bool, weights: Weights, carry: Carry, xs: Array, mask: Array | None
) -> tuple[Carry, Array]:
    """Runs a cell over xs float [T, B, D], from the first step to the last or, reversed, from the last to the first.

    Where mask [T, B] is False the carry stays. Returns the last carry and the states after each step [T, B, H].
    """
    carry, states, _ = _run(step, reverse, weights, carry, xs, mask, keep=False)
    return carry, states


def _is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


def _product(x: Any, w: Any) -> list[Array]:
    """x [T, B, D] times w [D, G] as [T B, G], or nothing where one of them is a zero that JAX knows of."""
    return [] if _is_zero(x) or _is_zero(w) else [x.reshape(-1, x.shape[-1]) @ w]


def _row(b: Any) -> list[Array]:
    return [] if b is None or _is_zero(b) else [b[None]]


def _shared_and_candidate(x: Any, features: int) -> tuple[Any, Any]:
    """x with zeros in its last columns, and those columns."""
    if x is None or _is_zero(x):
        return x, x
    shared, candidate = _split(x, features)
    return jnp.concatenate([shared, jnp.zeros_like(candidate)], axis=-1), candidate


def _recurrence_jvp(step, reverse, primals, tangents):
    weights, carry, xs, mask = primals
    d_weights, d_carry, d_xs, _ = tangents
    last, states, coefficients = _run(step, reverse, weights, carry, xs, mask, keep=True)
    first = hidden(carry)[None]
    before = jnp.concatenate([states[1:], first] if reverse else [first, states[:-1]])
    *lead, features = before.shape

    def total(terms, columns):
        summed = sum(terms, start=jnp.zeros((1, columns), before.dtype))
        return jnp.broadcast_to(summed, (math.prod(lead), columns)).reshape(*lead, columns)

    def of_inputs(w, d_w, d_b):
        return _product(xs, d_w) + _product(d_xs, w) + _row(d_b)

    inputs = (weights.input, d_weights.input, d_weights.bias)
    of_states = _product(before, d_weights.recurrent) + _row(d_weights.recurrent_bias)
    columns = weights.recurrent.shape[1]
    if step.joined:
        d_sums = (total(of_inputs(*inputs) + of_states, columns),)
    else:
        # Zeros in place of the candidate's columns: a few multiplications more, but one product for all of dU.
        shared, candidate = zip(*(_shared_and_candidate(part, features) for part in inputs))
        d_sums = total(of_inputs(*shared) + of_states, columns), total(of_inputs(*candidate), features)
    # The backward loop multiplies with U transposed, which is faster when it lies in memory that way.
    transposed = lax.optimization_barrier(weights.recurrent.T)

    def body(d_carry, inputs):
        d_sums, coefficients, m = inputs
        through = lax.dot_general(hidden(d_carry), transposed, (((1,), (1,)), ((), ())))
        if step.joined:
            d_sums = (d_sums[0] + through,)
        else:
            d_shared, d_q_n = _split(d_sums[0] + through, features)
            d_sums = (d_shared, d_sums[1], d_q_n)
        new = keep_masked(m, step.tangent(coefficients, d_sums, d_carry), d_carry)
        return new, hidden(new)

    d_carry = jax.tree.map(
        lambda d, c: jnp.zeros_like(c) if _is_zero(d) else d, d_carry, carry, is_leaf=_is_zero
    )
    d_last, d_states = lax.scan(body, d_carry, (d_sums, coefficients, mask), reverse=reverse)
    return (last, states), (d_last, d_states)


recurrence.defjvp(_recurrence_jvp, symbolic_zeros=True)

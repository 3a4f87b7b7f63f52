"""Recurrent cells with gates: LSTM, GRU and the minimal gated unit.

Shapes: ... any leading axes (a batch), D inputs, H hidden units (features).

Every gate has its own kernels, named as in linen: `ii`, `if`, `ig`, `io` from the input, `hi`, `hf`, `hg`, `ho` from
the state. They are put side by side once per sequence, so a step has one product for all of them.

The gates are returned on request, by `cell(carry, x, return_gates=True)` or `RNN(cell)(x, return_gates=True)`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.activations import sigmoid, tanh
from jaxdl.nn.cells import Cell, Gates, kernels, promote, recurrent_product, widen
from jaxdl.nn.initializers import Initializer
from jaxdl.nn.time_loop import Carry, Step, Weights, fast_sigmoid
from jaxdl.types import Array

_USUAL = {"gate_fn": (sigmoid, jax.nn.sigmoid), "activation_fn": (tanh, jnp.tanh, jax.nn.tanh)}


def _usual(cell: "LSTMCell | GRUCell | MinimalGatedCell") -> bool:
    """Whether the cell has the functions whose derivatives the fast steps know."""
    return all(getattr(cell, name) in functions for name, functions in _USUAL.items())


def _bounded(gate: Array) -> Array:
    return gate * (1 - gate)


def _lstm_step(sums, carry):
    c, _ = carry
    i, f, g, o = jnp.split(sums[0], 4, axis=-1)
    i, f, g, o = fast_sigmoid(i), fast_sigmoid(f), jnp.tanh(g), fast_sigmoid(o)
    new_c = f * c + i * g
    shown = jnp.tanh(new_c)
    coefficients = (f, g * _bounded(i), c * _bounded(f), i * (1 - g * g), o * (1 - shown * shown))
    return (new_c, o * shown), (*coefficients, shown * _bounded(o))


def _lstm_tangent(k, d_sums, d_carry):
    d_i, d_f, d_g, d_o = jnp.split(d_sums[0], 4, axis=-1)
    d_c = k[0] * d_carry[0] + k[1] * d_i + k[2] * d_f + k[3] * d_g
    return d_c, k[4] * d_c + k[5] * d_o


_LSTM = Step(_lstm_step, _lstm_tangent, joined=True)


class LSTMCell(Cell):
    """Long short-term memory: a memory c that gates write, keep and show.

    i = s(W_i x + U_i h + b_i)      f = s(W_f x + U_f h + b_f)      o = s(W_o x + U_o h + b_o)
    g = tanh(W_g x + U_g h + b_g)   c' = f * c + i * g              h' = o * tanh(c'),  y = h'

    with s the sigmoid. The carry is (c, h). 4 (D H + H^2 + H) parameters. With `peepholes` the gates see the memory:
    p_i * c and p_f * c stand in the sums of i and f, p_o * c' in that of o (3 H parameters more: `pi`, `pf`, `po`).

    The gates on request: "input" i (selective read: how much of the candidate enters), "forget" f (selective forget:
    how much of the memory stays, and the factor of the gradient along it), "candidate" g, "output" o (selective
    write: how much of the memory is shown).

    `GRUCell` has three quarters of the parameters and no separate memory.

    Attributes:
      features: H, at least 1.
      dtype, param_dtype: computation dtype (None promotes inputs with parameters) and parameter dtype.
      kernel_init, recurrent_kernel_init, bias_init: initial W, U (for each gate) and b but b_f.
      forget_bias_init: initial b_f: 1, so that the memory starts by lasting.
      gate_fn, activation_fn: s and tanh. Others than the default are computed by a plain loop.
      use_bias: whether to add b.
      peepholes: whether the gates see the memory.

    Source: Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997; forget gate and peepholes by Gers & Schmidhuber,
    2000; b_f = 1 by Jozefowicz et al., "An Empirical Exploration of Recurrent Network Architectures", 2015.
    Differs from linen.LSTMCell and torch.nn.LSTM, where b_f starts like the others; and torch adds two biases: their
    sum is ours.
    """

    forget_bias_init: Initializer = jax.nn.initializers.ones
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    use_bias: bool = True
    peepholes: bool = False

    @linen.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """(c, h) of zeros for inputs of this shape; rng is not used."""
        shape = (*input_shape[:-1], self.features)
        return self.zeros(shape), self.zeros(shape)

    @linen.compact
    def constants(self, x: Array) -> tuple[Weights, tuple[Array, ...]]:
        gates, init = "ifgo", self.bias_init
        biases = {"i": init, "f": self.forget_bias_init, "g": init, "o": init} if self.use_bias else {}
        w, _ = kernels(self, "i", gates, x.shape[-1], self.kernel_init, {})
        u, b = kernels(self, "h", gates, self.features, self.recurrent_kernel_init, biases)
        seen = ()
        if self.peepholes:
            seen = tuple(
                self.param(name, jax.nn.initializers.zeros, (self.features,), self.param_dtype)
                for name in ("pi", "pf", "po")
            )
        w, u, b, *seen = promote(self, x, (w, u, b, *seen))
        return Weights(w, u, b), tuple(seen)

    @linen.nowrap
    def project(self, constants: tuple[Weights, tuple[Array, ...]], x: Array) -> Array:
        return super().project(constants[0], x)

    @linen.nowrap
    def advance(
        self, constants: tuple[Weights, tuple[Array, ...]], carry: tuple[Array, Array], u: Array
    ) -> tuple[Carry, Array, Gates]:
        weights, seen = constants
        c, h = carry
        return lstm_update(self, u + recurrent_product(h, weights.recurrent), c, h.dtype, seen)

    @linen.nowrap
    def fast_form(self, constants: tuple[Weights, tuple[Array, ...]]) -> tuple[Step, Weights] | None:
        return (_LSTM, constants[0]) if _usual(self) and not self.peepholes else None


def lstm_update(
    cell: Any, sums: Array, c: Array, state_dtype: Any, seen: tuple[Array, ...] = ()
) -> tuple[tuple[Array, Array], Array, Gates]:
    """The part of an LSTM behind its products: sums [..., 4 H] in the order i, f, g, o."""
    a, memory, *peepholes = widen(sums, c, *seen)
    i, f, g, o = jnp.split(a, 4, axis=-1)

    def see(gate, number, memory):
        if not peepholes:
            return gate
        return gate + peepholes[number].reshape((1,) * (gate.ndim - 1) + (-1,)) * memory

    i, f = cell.gate_fn(see(i, 0, memory)), cell.gate_fn(see(f, 1, memory))
    g = cell.activation_fn(g)
    memory = f * memory + i * g
    o = cell.gate_fn(see(o, 2, memory))
    h = o * cell.activation_fn(memory)
    gates = {"input": i, "forget": f, "candidate": g, "output": o}
    gates = {name: gate.astype(sums.dtype) for name, gate in gates.items()}
    return (memory.astype(c.dtype), h.astype(state_dtype)), h.astype(sums.dtype), gates


@functools.cache
def _gru_step(z_keeps_state: bool) -> Step:
    def advance(sums, h):
        shared, u_n, q_n = sums
        r, z = map(fast_sigmoid, jnp.split(shared, 2, axis=-1))
        n = jnp.tanh(u_n + r * q_n)
        keep, take = (z, 1 - z) if z_keeps_state else (1 - z, z)
        sign = 1 if z_keeps_state else -1
        of_n = take * (1 - n * n)
        return keep * h + take * n, (
            keep,
            of_n * q_n * _bounded(r),
            sign * (h - n) * _bounded(z),
            of_n,
            of_n * r,
        )

    def tangent(k, d_sums, d_h):
        d_shared, du_n, dq_n = d_sums
        d_r, d_z = jnp.split(d_shared, 2, axis=-1)
        return k[0] * d_h + k[1] * d_r + k[2] * d_z + k[3] * du_n + k[4] * dq_n

    return Step(advance, tangent, joined=False)


class GRUCell(Cell):
    """Gated recurrent unit: one state, which a gate z moves between keeping and renewing.

    r = s(W_r x + U_r h + b_r)      n = tanh(W_n x + b_n + r * (U_n h + d_n))     reset "after" the product
    z = s(W_z x + U_z h + b_z)      n = tanh(W_n x + b_n + U_n (r * h))           reset "before" it
    h' = z * h + (1 - z) * n, or with `z_keeps_state=False` h' = (1 - z) * h + z * n;  y = h'

    with s the sigmoid. Both conventions of z are in print; they are the same cell with W_z, U_z and b_z negated.
    Resetting "after" is one product less in a row, as in linen, PyTorch and cuDNN; "before" is the paper's. Parameters:
    `ir`, `iz`, `in` (`kernel`, `bias` b) and `hr`, `hz`, `hn` (`kernel`; for "after" `hn` has the `bias` d_n):
    3 (D H + H^2 + H), and H for d_n.

    The gates on request: "reset" r, "update" z, "candidate" n.

    Attributes:
      features, dtype, param_dtype, kernel_init, recurrent_kernel_init, bias_init, gate_fn, activation_fn, use_bias: as
        in `LSTMCell`.
      reset: "after" or "before".
      z_keeps_state: whether z = 1 keeps the state (linen, PyTorch) or takes the candidate (Cho et al. keep; Chung et
        al. take).

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, arXiv:1406.1078; Chung et
    al., "Empirical Evaluation of Gated Recurrent Neural Networks", 2014, arXiv:1412.3555.
    Differs from torch.nn.GRU, which adds two biases to r and z too: their sums are ours.
    """

    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    use_bias: bool = True
    reset: str = "after"
    z_keeps_state: bool = True

    @linen.compact
    def constants(self, x: Array) -> Weights:
        checks.one_of(("after", "before"), reset=self.reset)
        init = self.bias_init
        biases = {"r": init, "z": init, "n": init} if self.use_bias else {}
        inner = {"n": init} if self.use_bias and self.reset == "after" else {}
        w, b = kernels(self, "i", "rzn", x.shape[-1], self.kernel_init, biases)
        u, d = kernels(self, "h", "rzn", self.features, self.recurrent_kernel_init, inner)
        return promote(self, x, Weights(w, u, b, d))

    @linen.nowrap
    def advance(self, constants: Weights, carry: Array, u: Array) -> tuple[Array, Array, Gates]:
        h, kernel, features = carry, constants.recurrent, self.features
        u_gates, u_n = jnp.split(u, [2 * features], axis=-1)
        if self.reset == "after":
            q_gates, q_n = jnp.split(
                recurrent_product(h, kernel, constants.recurrent_bias), [2 * features], -1
            )
        else:
            q_gates, q_n = recurrent_product(h, kernel[:, : 2 * features]), None
        a, state = widen(u_gates + q_gates, h)
        r, z = jnp.split(self.gate_fn(a), 2, axis=-1)
        if q_n is None:
            (a_n,) = widen(u_n + recurrent_product(r * state, kernel[:, 2 * features :]))
        else:
            a_n, q_n = widen(u_n, q_n)
            a_n = a_n + r * q_n
        n = self.activation_fn(a_n)
        new = z * state + (1 - z) * n if self.z_keeps_state else (1 - z) * state + z * n
        gates = {"reset": r, "update": z, "candidate": n}
        gates = {name: gate.astype(u.dtype) for name, gate in gates.items()}
        return new.astype(h.dtype), new.astype(u.dtype), gates

    @linen.nowrap
    def fast_form(self, constants: Weights) -> tuple[Step, Weights] | None:
        fast = _usual(self) and self.reset == "after"
        return (_gru_step(self.z_keeps_state), constants) if fast else None


def _minimal_step(sums, h):
    a_f, u_n, q_n = sums
    f = fast_sigmoid(a_f)
    n = jnp.tanh(u_n + f * q_n)
    of_n = (1 - f) * (1 - n * n)
    return f * h + (1 - f) * n, (f, _bounded(f) * (h - n + of_n * q_n), of_n, of_n * f)


def _minimal_tangent(k, d_sums, d_h):
    d_f, du_n, dq_n = d_sums
    return k[0] * d_h + k[1] * d_f + k[2] * du_n + k[3] * dq_n


_MINIMAL = Step(_minimal_step, _minimal_tangent, joined=False)


class MinimalGatedCell(Cell):
    """Minimal gated unit: a GRU whose one gate both resets and updates.

    f = s(W_f x + U_f h + b_f)      n = tanh(W_n x + b_n + f * (U_n h + d_n))     reset "after" the product
    h' = f * h + (1 - f) * n        n = tanh(W_n x + b_n + U_n (f * h))           reset "before" it
    y = h'                          n = tanh(W_n x + b_n + U_n h)                 reset None

    with s the sigmoid. Parameters: `if`, `in` (`kernel`, `bias`) and `hf`, `hn` (`kernel`; for "after" `hn` has the
    `bias` d_n), two thirds of a GRU's: 2 (D H + H^2 + H), and H for d_n.

    The gates on request: "forget" f, "candidate" n.

    Attributes:
      features, dtype, param_dtype, kernel_init, recurrent_kernel_init, bias_init, forget_bias_init, gate_fn,
        activation_fn, use_bias: as in `LSTMCell`.
      reset: "after", "before" or None.

    Source: Zhou et al., "Minimal Gated Unit for Recurrent Neural Networks", 2016, arXiv:1603.09420.
    Differs from it, as linen.MGUCell does: there f = 1 takes the candidate, here it keeps the state (the same cell
    for reset None, with W_f, U_f and b_f negated). linen's `reset_gate` is reset "after" or None.
    """

    forget_bias_init: Initializer = jax.nn.initializers.ones
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    use_bias: bool = True
    reset: str | None = "after"

    @linen.compact
    def constants(self, x: Array) -> Weights:
        checks.one_of(("after", "before", None), reset=self.reset)
        biases = {"f": self.forget_bias_init, "n": self.bias_init} if self.use_bias else {}
        inner = {"n": self.bias_init} if self.use_bias and self.reset == "after" else {}
        w, b = kernels(self, "i", "fn", x.shape[-1], self.kernel_init, biases)
        u, d = kernels(self, "h", "fn", self.features, self.recurrent_kernel_init, inner)
        return promote(self, x, Weights(w, u, b, d))

    @linen.nowrap
    def advance(self, constants: Weights, carry: Array, u: Array) -> tuple[Array, Array, Gates]:
        h, (u_f, u_n) = carry, jnp.split(u, 2, axis=-1)
        kernel_f, kernel_n = jnp.split(constants.recurrent, 2, axis=-1)
        a_f, state = widen(u_f + recurrent_product(h, kernel_f), h)
        f = self.gate_fn(a_f)
        bias = None if constants.recurrent_bias is None else constants.recurrent_bias[self.features :]
        (q_n,) = widen(recurrent_product(f * state if self.reset == "before" else h, kernel_n, bias))
        (u_n,) = widen(u_n)
        n = self.activation_fn(u_n + (f * q_n if self.reset == "after" else q_n))
        new = f * state + (1 - f) * n
        gates = {"forget": f.astype(u.dtype), "candidate": n.astype(u.dtype)}
        return new.astype(h.dtype), new.astype(u.dtype), gates

    @linen.nowrap
    def fast_form(self, constants: Weights) -> tuple[Step, Weights] | None:
        return (_MINIMAL, constants) if _usual(self) and self.reset == "after" else None

"""Recurrent layers: a cell run over time, in one or both directions, and layers on top of each other.

Shapes: B batch, T time steps, D inputs, H hidden units.

Sequences are batch-major, [B, T, D]. Those that are shorter than T are padded, and either `lengths` [B] says how many
steps of each count (padding behind), or `mask` [B, T] which (padding anywhere). A padded step leaves the carry alone,
gives the output 0, and may hold anything, NaN too: it reaches no value and no gradient. So the last carry of every
sequence is the one after its last real step, and a layer that runs backward starts at its last real step.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import backends, checks
from jaxdl.nn.cells import Cell, Gates, check_carry
from jaxdl.nn.regularization import Dropout
from jaxdl.nn.sequences import reverse_sequences, sequence_mask
from jaxdl.nn.time_loop import Carry, keep_masked, recurrence, scan
from jaxdl.types import Array


def _valid(x: Array, mask: Array | None, lengths: Array | None) -> Array | None:
    """Which steps count, bool [B, T], or None for all."""
    if mask is not None and lengths is not None:
        raise ValueError("mask must be None where lengths are given, got both")
    if lengths is not None:
        checks.shape(x.shape[:1], lengths=lengths)
        return sequence_mask(lengths, x.shape[1])
    if mask is not None:
        checks.boolean(mask=mask)
        checks.shape(x.shape[:2], mask=mask)
    return mask


def _zero_where_padded(valid: Array | None, values: Any) -> Any:
    return keep_masked(valid, values, jax.tree.map(jnp.zeros_like, values))


def _swap(values: Any) -> Any:
    """Between [B, T, ...] and [T, B, ...]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), values)


class RNN(linen.Module):
    """A recurrent cell over a sequence.

    carry_t, y_t = cell(carry_{t-1}, x_t) for t = 1 .. T, with the cell's parameters in `cell`.

    Attributes:
      cell: one of ours, or any `linen.RNNCellBase`; a cell of linen's draws a new key of its "dropout" stream in each
        step.

    Our cells run in one product per step with all gates side by side. On CPU, `SimpleCell`, `LSTMCell`, `GRUCell` and
    `MinimalGatedCell` with their usual functions, in float32 or above, get each weight's gradient as one product after
    the backward loop; values and derivatives of all orders are those of the plain loop.

    Differs from linen.RNN, whose parameters it shares: it always returns the carry, skips padded steps wherever they
    are, gives 0 there, and a reversed run keeps the order of the inputs unless told otherwise.
    """

    cell: linen.RNNCellBase

    def __call__(
        self,
        x: Array,
        *,
        mask: Array | None = None,
        lengths: Array | None = None,
        initial_carry: Carry | None = None,
        reverse: bool = False,
        keep_order: bool = True,
        return_gates: bool = False,
    ) -> Any:
        """Runs the cell.

        Args:
          x: float [B, T, D] ([B, T, ..., D] for a cell on feature maps).
          mask: bool [B, T]; True: a real step.
          lengths: integers [B], each from 0 to T, instead of a mask.
          initial_carry: the carry before the first step; None for zeros. Together with the returned carry it continues
            a sequence that comes in parts.
          reverse: run from the last step to the first.
          keep_order: whether outputs of a reversed run stand where their inputs do. Otherwise in the order of their
            computation: turned round like `reverse_sequences(outputs, lengths)`, with a mask all T of them.
          return_gates: also return the cell's gates.

        Returns:
          The carry after the last step and the outputs [B, T, H], 0 at padded steps; with `return_gates` also a dict of
          the gates, each [B, T, ...].

        Raises:
          TypeError: x is not floating point, mask not bool, or lengths not integers.
          ValueError: shapes that do not fit together, both mask and lengths, a length known to be above T, or gates are
            asked of a cell that has none.
        """
        checks.rank(self.cell.num_feature_axes + 2, x=x)
        checks.floating(x=x)
        valid = _valid(x, mask, lengths)
        x = _zero_where_padded(valid, x)
        step_shape = (x.shape[0], *x.shape[2:])
        if initial_carry is not None:
            check_carry(self.cell, initial_carry, step_shape)
        inputs = (_swap(x), None if valid is None else _swap(valid))
        if isinstance(self.cell, Cell):
            carry, outputs, gates = self._run(x, inputs, initial_carry, reverse, return_gates)
        else:
            if return_gates:
                raise ValueError(f"return_gates must be False for {type(self.cell).__name__}, got True")
            carry, outputs = self._run_any(inputs, initial_carry, reverse)
            gates = {}
        outputs, gates = _zero_where_padded(valid, _swap((outputs, gates)))
        if reverse and not keep_order:
            outputs, gates = jax.tree.map(lambda y: reverse_sequences(y, lengths), (outputs, gates))
        return (carry, outputs, gates) if return_gates else (carry, outputs)

    def _run(
        self,
        x: Array,
        inputs: tuple[Array, Array | None],
        carry: Carry | None,
        reverse: bool,
        return_gates: bool,
    ) -> tuple[Carry, Array, Gates]:
        cell, (xs, valid) = self.cell, inputs
        assert isinstance(cell, Cell)
        checks.at_least(1, features=cell.features)
        constants = (
            cell.constants(xs, x, None if valid is None else valid.T)  # pyrefly: ignore[bad-argument-count]
            if cell.attends
            else cell.constants(xs)
        )
        dtype = jax.tree.leaves(constants)[0].dtype
        if carry is None:
            # As wide as the products, in float32 at least.
            carry = cell.initialize_carry(jax.random.key(0), (x.shape[0], *x.shape[2:]))
            carry = jax.tree.map(lambda c: c.astype(jnp.promote_types(c.dtype, dtype)), carry)
        fast = cell.fast_form(constants)
        wide = dtype in (jnp.float32, jnp.float64) and all(c.dtype == dtype for c in jax.tree.leaves(carry))
        if fast is not None and wide and not return_gates and backends.compiles_for_cpu():
            step, weights = fast
            return *recurrence(step, reverse, weights, carry, xs.astype(dtype), valid), {}

        def body(carry, inputs):
            u, m = inputs
            new, y, gates = cell.advance(constants, carry, u)
            return keep_masked(m, new, carry), (y, gates if return_gates else {})

        us = cell.project(constants, xs)
        carry, (outputs, gates) = scan(body, carry, (us, valid), reverse=reverse, convolves=cell.convolves)
        if return_gates and not gates:
            raise ValueError(f"return_gates must be False for {type(cell).__name__}, which has no gates")
        return carry, outputs, gates

    def _run_any(
        self, inputs: tuple[Array, Array | None], carry: Carry | None, reverse: bool
    ) -> tuple[Carry, Array]:
        xs, _ = inputs
        if carry is None:
            carry = self.cell.initialize_carry(jax.random.key(0), xs.shape[1:])

        def body(cell, carry, inputs):
            x, m = inputs
            new, y = cell(carry, x)
            return keep_masked(m, new, carry), y

        lifted = linen.scan(
            body,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            reverse=reverse,
        )
        return lifted(self.cell, carry, inputs)


class Bidirectional(linen.Module):
    """Two recurrent layers over one sequence, one in each direction, joined step by step.

    y_t = [forward_t; backward_t], or forward_t + backward_t, where backward_t has seen x_t .. x_T and forward_t
    x_1 .. x_t. With padding both directions see each sequence's real steps only.

    Attributes:
      forward_rnn: runs from the first step to the last.
      backward_rnn: runs from the last real step to the first; its parameters are its own.
      merge: "concat" or "sum" (which needs outputs of one size).

    Source: Schuster & Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
    """

    forward_rnn: RNN
    backward_rnn: RNN
    merge: str = "concat"

    def __call__(
        self,
        x: Array,
        *,
        mask: Array | None = None,
        lengths: Array | None = None,
        initial_carry: tuple[Carry, Carry] | None = None,
    ) -> tuple[tuple[Carry, Carry], Array]:
        """Runs both layers.

        Args:
          x: float [B, T, D].
          mask, lengths: which steps are real, as in `RNN`.
          initial_carry: the two layers' carries, forward first; None for zeros.

        Returns:
          Both layers' last carries, that of the backward layer after x_1, and the outputs [B, T, 2 H] or [B, T, H].

        Raises:
          TypeError, ValueError: as in `RNN`; another merge; sizes that cannot be added.
        """
        checks.one_of(("concat", "sum"), merge=self.merge)
        before = (None, None) if initial_carry is None else initial_carry
        if len(before) != 2:
            raise ValueError(f"initial_carry must be a pair, got {len(before)} entries")
        carry_f, forward = self.forward_rnn(x, mask=mask, lengths=lengths, initial_carry=before[0])
        carry_b, backward = self.backward_rnn(
            x, mask=mask, lengths=lengths, initial_carry=before[1], reverse=True
        )
        if self.merge == "concat":
            return (carry_f, carry_b), jnp.concatenate([forward, backward], axis=-1)
        checks.same_shape(forward=forward, backward=backward)
        return (carry_f, carry_b), forward + backward


class StackedRNN(linen.Module):
    """Recurrent layers on top of each other, with dropout between them.

    y^0 = x,  y^l = layer_l(dropout(y^{l-1})); no dropout in front of the first layer and behind the last.

    Attributes:
      layers: `RNN` and `Bidirectional`, the lowest first, at least one. Their parameters are `layers_0` and so on.
      dropout_rate: probability of dropping a value between two layers, in [0, 1).

    Source: Zaremba et al., "Recurrent Neural Network Regularization", 2014, arXiv:1409.2329 (dropout on the
    connections that do not recur).
    """

    layers: Sequence[RNN | Bidirectional]
    dropout_rate: float = 0.0

    @linen.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool,
        mask: Array | None = None,
        lengths: Array | None = None,
        initial_carry: Sequence[Any] | None = None,
    ) -> tuple[tuple[Any, ...], Array]:
        """Runs all layers.

        Args:
          x: float [B, T, D].
          train: whether to drop; draws from the stream "dropout".
          mask, lengths: which steps are real, as in `RNN`.
          initial_carry: one entry for each layer, or None for zeros; an entry may be None too.

        Returns:
          Each layer's last carry, and the outputs of the last layer.

        Raises:
          TypeError, ValueError: as in the layers; dropout_rate out of range; not one carry for each layer.
        """
        if not self.layers:
            raise ValueError("layers must have at least one entry, got none")
        before = [None] * len(self.layers) if initial_carry is None else initial_carry
        if len(before) != len(self.layers):
            raise ValueError(f"initial_carry must have {len(self.layers)} entries, got {len(before)}")
        carries = []
        for number, (layer, first) in enumerate(zip(self.layers, before)):
            if number:
                x = Dropout(self.dropout_rate)(x, train=train)
            carry, x = layer(x, mask=mask, lengths=lengths, initial_carry=first)
            carries.append(carry)
        return tuple(carries), x

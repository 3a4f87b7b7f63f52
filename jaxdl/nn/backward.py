"""Backward passes written out by hand: what differentiation makes of a convolution, a pooling and a recurrence.

To train, differentiate: these are for learning, for checking, and for rules that change one of their terms.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl import checks
from jaxdl.nn.convolution import Padding, Size
from jaxdl.nn.convolution_forms import Pairs
from jaxdl.nn.filtering import correlate, flip, geometry
from jaxdl.nn.pooling import window_settings
from jaxdl.types import Array


class ConvGradients(NamedTuple):
    """Gradients of a convolution's x, kernel and bias, each of the shape of what it belongs to."""

    x: Array
    kernel: Array
    bias: Array  # [F]; a number without channels


def _pad_or_crop(x: Array, pads: list[tuple[int, int, int]]) -> Array:
    """`lax.pad` with zeros; negative amounts cut off."""
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def _conv_backward(
    x: Array, kernel: Array, grad: Array, strides: tuple[int, ...], pairs: Pairs, dilation: tuple[int, ...]
) -> tuple[Array, Array]:
    """dI and dF of O = cross_correlate(I, F) with channels, in one group."""
    whole, one, none = (0, 0, 0), (1,) * len(strides), ((0, 0),) * len(strides)
    reach = [(k - 1) * d for k, d in zip(kernel.shape, dilation)]
    sizes, outs = x.shape[1:-1], grad.shape[1:-1]

    # Every output gives back along the weights it came by: the full convolution of dO with F. Outputs that a
    # stride has left out had no say: zeros between the others.
    spread = _pad_or_crop(grad, [whole, *((0, 0, s - 1) for s in strides), whole])
    transposed = jnp.swapaxes(flip(kernel, channels=True), -1, -2)
    seen = correlate(spread, transposed, one, tuple((r, r) for r in reach), dilation)
    # What the kernel has seen began in the padding, and may have ended before x did.
    ends = [(-low, low + n - m, 0) for n, m, (low, _) in zip(sizes, seen.shape[1:], pairs)]
    dx = _pad_or_crop(seen, [whole, *ends, whole])

    # A weight met at each output the input that lies its own offset away: the cross-correlation of I with dO,
    # where stride and dilation change places and the sum runs over examples instead of channels.
    fit = [
        (low, r + (o - 1) * s + 1 - n - low, 0)
        for n, o, s, r, (low, _) in zip(sizes, outs, strides, reach, pairs)
    ]
    fitted = _pad_or_crop(x, [whole, *fit, whole])
    dkernel = correlate(jnp.swapaxes(fitted, 0, -1), jnp.moveaxis(grad, 0, -2), dilation, none, strides)
    return dx, jnp.moveaxis(dkernel, 0, -2)


def conv_backward(
    x: Array,
    kernel: Array,
    output_grad: Array,
    strides: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    channels: bool = False,
    flipped: bool = False,
) -> ConvGradients:
    """Gradients of a convolution, from that of its output.

    Of O = cross_correlate(I, F) + b: dF = cross_correlate(I, dO), dI = convolve(dO, F, padding='FULL'), db = sum
    dO. Of O = convolve(I, F) + b: dF = cross_correlate(I, dO) turned by 180 degrees, dI = cross_correlate(dO, F,
    padding='FULL'). So one operation is the other's way back. With a stride, dO has s - 1 zeros between its
    values; padding is cut off dI.

    Args:
      x: I, float [n...]; with channels [B, n..., C].
      kernel: F, float of the same rank; with channels [k..., C / groups, F].
      output_grad: dO, float of the shape of O.
      strides, padding, dilation, groups, channels: as they were in the forward pass, see `cross_correlate`.
      flipped: whether that was `convolve`.

    Returns:
      `ConvGradients`: x, kernel, bias.

    Raises:
      TypeError: an array is not floating point.
      ValueError: output_grad does not have the shape of O; or as `cross_correlate`.

    Source: LeCun et al., "Backpropagation Applied to Handwritten Zip Code Recognition", 1989. Texts that turn I for
    dF mean a true convolution, forwards and backwards.
    """
    checks.floating(output_grad=output_grad)
    steps, pairs, gaps = geometry(x, kernel, strides, padding, dilation, groups, channels)
    inputs, weights, grad = x, flip(kernel, channels) if flipped else kernel, output_grad
    if not channels:
        inputs, weights, grad = x[None, ..., None], weights[..., None, None], grad[None, ..., None]
    outs = [
        (n + low + high - (k - 1) * d - 1) // s + 1
        for n, k, s, d, (low, high) in zip(inputs.shape[1:], weights.shape, steps, gaps, pairs)
    ]
    checks.shape((inputs.shape[0], *outs, weights.shape[-1]) if channels else outs, output_grad=output_grad)
    dtype = jnp.result_type(x, kernel, output_grad)
    inputs, weights, grad = (a.astype(dtype) for a in (inputs, weights, grad))

    def split(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], groups, -1)

    def join(a: Array) -> Array:
        return a.reshape(*a.shape[:-2], -1)

    def one_group(inputs: Array, weights: Array, grad: Array) -> tuple[Array, Array]:
        return _conv_backward(inputs, weights, grad, steps, pairs, gaps)

    if groups == 1:
        dx, dkernel = one_group(inputs, weights, grad)
    else:
        by_group = jax.vmap(one_group, in_axes=-2, out_axes=-2)
        dx, dkernel = map(join, by_group(split(inputs), split(weights), split(grad)))
    dkernel = flip(dkernel, channels=True) if flipped else dkernel
    dbias = jnp.sum(grad, tuple(range(grad.ndim - 1)))
    if not channels:
        dx, dkernel, dbias = dx[0, ..., 0], dkernel[..., 0, 0], dbias[0]
    return ConvGradients(dx.astype(x.dtype), dkernel.astype(kernel.dtype), dbias.astype(kernel.dtype))


def pool_backward(
    x: Array,
    output_grad: Array,
    window: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    reduction: str = "max",
    ties: str = "share",
    count_padding: bool = True,
) -> Array:
    """Gradient of a pooling's input, from that of its output.

    dx[i] = sum over the windows w that hold place i of its share in w times dO[w]. A share is 1 for 'sum';
    1 / f^2 for 'average'; for 'max' 1 at the largest value and 0 elsewhere.

    Args:
      x: float [B, ..., C], the input.
      output_grad: dO, float of the output's shape.
      window, strides, padding: as they were in the forward pass, see `max_pool`.
      reduction: 'max', 'average' or 'sum'.
      ties: of several largest values in a window, whether each takes an equal part ('share'; differentiating
        `max_pool` does that where windows neither overlap nor are padded) or the first all of it ('first'; it
        does that elsewhere, and PyTorch everywhere).
      count_padding: as in `average_pool`.

    Returns:
      float [B, ..., C], of the shape and dtype of x.

    Raises:
      TypeError: an array is not floating point.
      ValueError: another reduction or way with ties, output_grad does not have the output's shape, or as
        `max_pool`.
    """
    checks.one_of(("max", "average", "sum"), reduction=reduction)
    checks.one_of(("share", "first"), ties=ties)
    checks.floating(output_grad=output_grad)
    windows, steps, pairs = window_settings(x, window, strides, padding)
    spans = [n + low + high for n, (low, high) in zip(x.shape[1:-1], pairs)]
    outs = [(m - f) // s + 1 for m, f, s in zip(spans, windows, steps)]
    checks.shape((x.shape[0], *outs, x.shape[-1]), output_grad=output_grad)
    starts = list(itertools.product(*map(range, windows)))
    whole = (0, 0, 0)

    def values(x: Array, outside: float) -> Array:
        """Those of every window, [f^2, B, outs..., C]."""
        x = jnp.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=outside)
        return jnp.stack(
            [
                x[(slice(None), *(slice(i, i + (o - 1) * s + 1, s) for i, o, s in zip(start, outs, steps)))]
                for start in starts
            ]
        )

    if reduction == "max":
        places = values(x, -jnp.inf)
        largest = places == jnp.max(places, 0, keepdims=True)
        if ties == "first":
            largest &= jnp.cumsum(largest, 0) == 1
        shares = largest / jnp.sum(largest, 0, keepdims=True)
    elif reduction == "average" and not count_padding:
        inside = values(jnp.ones((1, *x.shape[1:-1], 1), x.dtype), 0.0)
        shares = inside / jnp.sum(inside, 0, keepdims=True)
    else:
        shares = jnp.full(
            (len(starts),) + (1,) * x.ndim, 1 / math.prod(windows) if reduction == "average" else 1.0
        )
    back = jnp.zeros((x.shape[0], *spans, x.shape[-1]), jnp.promote_types(x.dtype, jnp.float32))
    for start, share in zip(starts, shares):
        ends = [(i, m - i - (o - 1) * s - 1, s - 1) for i, m, o, s in zip(start, spans, outs, steps)]
        back += _pad_or_crop((share * output_grad).astype(back.dtype), [whole, *ends, whole])
    for axis, (n, (low, _)) in enumerate(zip(x.shape[1:-1], pairs), start=1):
        back = lax.slice_in_dim(back, low, low + n, axis=axis)
    return back.astype(x.dtype)


class RNNGradients(NamedTuple):
    """Gradients of a recurrence's weights, each of the shape of what it belongs to."""

    input_kernel: Array
    recurrent_kernel: Array
    bias: Array
    output_kernel: Array


class RNNBackward(NamedTuple):
    """What `rnn_backward` returns."""

    gradients: RNNGradients
    terms: RNNGradients  # each [T, ...]: what time step k adds; their sums over k are the gradients
    states: Array  # [B, T, H]: dE/ds_k, all that reaches state k from its own output and from later ones
    initial_state: Array  # [B, H]
    x: Array  # [B, T, D]


def rnn_backward(
    x: Array,
    input_kernel: Array,
    recurrent_kernel: Array,
    output_kernel: Array,
    output_grad: Array,
    bias: Array | None = None,
    initial_state: Array | None = None,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> RNNBackward:
    """Backpropagation through time of an Elman net, as a sum over time for each weight matrix.

    Forwards s_t = f(x_t W_x + s_{t-1} W_s + b), y_t = s_t W_y. Backwards, with E = sum over t of E_t,

    dE/dW_y = sum over t of s_t^T dE_t/dy_t,
    dE/dW_s = sum over k of (d+s_k/dW_s) dE/ds_k,
    dE/ds_k = sum over t >= k of dE_t/dy_t dy_t/ds_t (product over i = k+1..t of ds_i/ds_{i-1}),

    and W_x and b like W_s. d+ is the immediate derivative, which holds the state before fixed: with f'_k the
    slope at step k, d+s_k/dW_s gives s_{k-1}^T (f'_k dE/ds_k). The products are not formed: going back from the last
    step, dE/ds_{k-1} = dE_{k-1}/ds_{k-1} + (f'_k dE/ds_k) W_s^T collects them.

    For truncated backpropagation call it on one segment after the other, each from the last state of the one
    before, and add up.

    Args:
      x: float [B, T, D].
      input_kernel: W_x, float [D, H].
      recurrent_kernel: W_s, float [H, H].
      output_kernel: W_y, float [H, Q]; the identity where E is a function of the states.
      output_grad: dE/dy, float [B, T, Q]; 0 at steps without an error.
      bias: b, float [H]; None is 0.
      initial_state: s_0, float [B, H]; None is 0.
      activation: f, elementwise.

    Returns:
      `RNNBackward`, all float: the gradients, their terms by time step, and the gradients of states, initial
      state and x. States that fade from the last to the first show a vanishing gradient.

    Raises:
      TypeError: an array is not floating point.
      ValueError: shapes do not fit together.

    Source: Werbos, "Backpropagation Through Time: What It Does and How to Do It", 1990. Texts that write the sum
    with total derivatives ds_k/dW in place of d+s_k/dW count the earlier steps more than once.
    """
    checks.floating(
        x=x,
        input_kernel=input_kernel,
        recurrent_kernel=recurrent_kernel,
        output_kernel=output_kernel,
        output_grad=output_grad,
    )
    checks.rank(3, x=x)
    checks.rank(2, recurrent_kernel=recurrent_kernel, output_kernel=output_kernel)
    batch, steps, features = x.shape
    hidden, outputs = output_kernel.shape
    checks.shape((features, hidden), input_kernel=input_kernel)
    checks.shape((hidden, hidden), recurrent_kernel=recurrent_kernel)
    checks.shape((batch, steps, outputs), output_grad=output_grad)
    dtype = jnp.result_type(x, input_kernel, recurrent_kernel, output_kernel, output_grad)
    bias = jnp.zeros(hidden, dtype) if bias is None else bias
    initial_state = jnp.zeros((batch, hidden), dtype) if initial_state is None else initial_state
    checks.floating(bias=bias, initial_state=initial_state)
    checks.shape((hidden,), bias=bias)
    checks.shape((batch, hidden), initial_state=initial_state)
    given = (x, input_kernel, recurrent_kernel, bias, output_kernel, output_grad, initial_state)
    x, w_x, w_s, b, w_y, output_grad, first = (jnp.asarray(a, dtype) for a in given)

    def forwards(state: Array, net_x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        net = net_x + state @ w_s
        new, slope = jax.jvp(activation, (net,), (jnp.ones_like(net),))
        return new, (state, new, slope)

    nets = jnp.moveaxis(x @ w_x, 1, 0) + b[None, None]
    _, (before, states, slopes) = lax.scan(forwards, first, nets)  # [T, B, H] each

    def backwards(later: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        from_output, slope = step
        total = from_output + later
        delta = slope * total
        return delta @ w_s.T, (total, delta)

    from_outputs = jnp.moveaxis(output_grad @ w_y.T, 1, 0)
    to_first, (totals, deltas) = lax.scan(
        backwards, jnp.zeros_like(first), (from_outputs, slopes), reverse=True
    )

    terms = RNNGradients(
        input_kernel=jnp.einsum("btd,tbh->tdh", x, deltas),
        recurrent_kernel=jnp.einsum("tbg,tbh->tgh", before, deltas),
        bias=jnp.sum(deltas, 1),
        output_kernel=jnp.einsum("tbh,btq->thq", states, output_grad),
    )
    gradients = RNNGradients(*(jnp.sum(term, 0) for term in terms))
    return RNNBackward(
        gradients, terms, jnp.moveaxis(totals, 0, 1), to_first, jnp.moveaxis(deltas, 0, 1) @ w_x.T
    )

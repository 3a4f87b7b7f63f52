"""What is going on inside a network that trains, or does not.

Norms and shares of arrays work in a traced function, so a step can report them; `diagnose_training` reads what was
reported. U is the number of units of a layer, the last axis of its activations and of its kernel.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import widened
from jaxdl.metrics.streaming import Mean, Metric, Parts, counted, needed, no_values
from jaxdl.types import Array, Params


def _activations(activations: Array, where: Array | None) -> tuple[Array, Array]:
    """Checked activations [N, U], N over examples and places, and which rows count."""
    checks.floating(activations=activations)
    shape = np.shape(activations)
    if len(shape) < 2:
        raise ValueError(f"activations must have shape [..., U], got {shape}")
    chosen = counted(shape[:1], where).reshape(-1, *(1,) * (len(shape) - 2))
    return (
        jnp.asarray(activations).reshape(-1, shape[-1]),
        jnp.broadcast_to(chosen, shape[:-1]).reshape(-1),
    )


@Metric
def dead_relu_fraction(*, num_units: int | None = None) -> Parts:
    """Share of the units that are above 0 for no example: such a ReLU has no gradient and stays as it is.

    (1/U) sum_u [max_n a_nu <= 0]

        metrics.dead_relu_fraction(hidden)

    Of a convolution a unit is a channel, dead when it is nowhere above 0. The more examples, the more certain it is;
    how many units a single example uses says `active_relu_fraction`.

    Args:
      activations: before or after the ReLU, float [N, ..., U].
      where: bool [N], which examples count, or None for all.
      num_units: U, needed for `zero` alone.

    Returns:
      float32[] in [0, 1]; 1 when nothing counts. NaN is not above 0.

    Raises:
      TypeError: activations are not floating point, or where is not bool.
      ValueError: activations have fewer than two axes, or U is not num_units.
    """

    def measure(activations: Array, where: Array | None) -> Array:
        activations, chosen = _activations(activations, where)
        checks.shape((None, num_units), activations=activations)
        return jnp.any((activations > 0) & chosen[:, None], axis=0)

    def zero() -> Array:
        return jnp.zeros(needed("dead_relu_fraction", num_units=num_units), bool)

    return Parts(zero, measure, lambda alive: jnp.mean(~alive), jnp.logical_or)


@Metric
def active_relu_fraction() -> Parts:
    """Share of the activations above 0, over examples, places and units: how dense the code of a ReLU layer is.

    (1/NU) sum_nu [a_nu > 0]

    About 1/2 of a fresh layer with symmetric weights.

    Args, Raises: as for `dead_relu_fraction`.

    Returns:
      float32[] in [0, 1]; NaN when nothing counts. NaN is not above 0.
    """

    def measure(activations: Array, where: Array | None) -> Mean:
        activations, chosen = _activations(activations, where)
        # Means over units first: counts of all activations of a set would not fit 32 bits.
        shares = jnp.mean(activations > 0, axis=1)
        return Mean(jnp.sum(shares, where=chosen), jnp.sum(chosen, dtype=jnp.int32))

    return Parts(no_values, measure, Mean.value)


def _named(tree: Any) -> dict[str, Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _norm(x: Array, axis: tuple[int, ...] | None = None) -> Array:
    """Root of the sum of squares, scaled: what has vanished or exploded has squares that float32 cannot hold."""
    x = widened(x)
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    norm = scale * jnp.sqrt(jnp.sum(jnp.square(x / scale), axis=axis, keepdims=True))
    return jnp.squeeze(norm, axis)


def gradient_norms(grads: Params) -> dict[str, Array]:
    """Norm of the gradient of each array of parameters.

    |g| = sqrt(sum of squares)

    A chain of layers or of time steps in which they fall by a factor at each has vanishing gradients; one in which they
    rise, exploding ones.

        metrics.gradient_norms(grads)["Dense_0/kernel"]

    Args:
      grads: a tree of float arrays, such as the gradient of a loss by its parameters or by hidden states.

    Returns:
      float32[] for each leaf, by its path with slashes; exact where the square of an element would be 0 or infinite.

    Raises:
      TypeError: a leaf is not floating point.

    Differs from `weight_norms` in looking at each array as a whole.
    """
    named = _named(grads)
    checks.floating(**named)
    return {name: _norm(leaf) for name, leaf in named.items()}


def weight_norms(params: Params, *, per_unit: bool = False) -> dict[str, Array]:
    """Frobenius norm of each array of parameters, or the norms of the weights into each unit.

    sqrt(sum_iu w_iu^2), or sqrt(sum_i w_iu^2) for unit u

    Dropout and weight decay hold them down; `max_norm` bounds those per unit.

    Args:
      params: a tree of float arrays, kernels with the units on their last axis, as in linen.
      per_unit: one norm for each index of the last axis.

    Returns:
      By path with slashes: float32[], or float32[U] (of a bias, the sizes of its elements).

    Raises:
      TypeError: a leaf is not floating point.
    """
    named = _named(params)
    checks.floating(**named)
    axes = lambda leaf: tuple(range(np.ndim(leaf) - 1)) if per_unit else None  # noqa: E731
    return {name: _norm(leaf, axes(leaf)) for name, leaf in named.items()}


def co_adaptation(kernel: Array) -> Array:
    """Cosine of the angle between the incoming weights of each two units.

    c_uv = w_u w_v / (|w_u| |w_v|)

    Units that have come to extract the same feature are near 1 or -1; dropout keeps them apart.

        similar = jnp.abs(jnp.triu(metrics.co_adaptation(kernel), k=1)) > 0.9     # pairs

    Args:
      kernel: float [..., U], the units last.

    Returns:
      float32 [U, U] in [-1, 1] up to rounding, symmetric, its diagonal 1; 0 for a unit without weights.

    Raises:
      TypeError: the kernel is not floating point.
      ValueError: it has fewer than two axes.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014, section 7.1,
    for the idea.
    """
    checks.floating(kernel=kernel)
    if np.ndim(kernel) < 2:
        raise ValueError(f"kernel must have shape [..., U], got {np.shape(kernel)}")
    columns = widened(kernel).reshape(-1, np.shape(kernel)[-1])
    norms = _norm(columns, (0,))
    columns = columns / jnp.where(norms == 0, 1, norms)[None]
    return jnp.matmul(columns.T, columns, precision=jax.lax.Precision.HIGHEST)


class BiasVariance(NamedTuple):
    """Parts of an expected squared error.

    Attributes:
      squared_bias: of the mean prediction, float32[]: what is left with any amount of data.
      variance: about the mean prediction, float32[]: what the choice of training set adds.
      error: mean squared error, float32[], the sum of the two.
    """

    squared_bias: Array
    variance: Array
    error: Array


def bias_variance(predictions: Array, targets: Array) -> BiasVariance:
    """Splits the squared error of models trained on different sets into bias and variance.

    mean_n (mean_m f_mn - t_n)^2  +  mean_n mean_m (f_mn - mean_m f_mn)^2  =  mean_nm (f_mn - t_n)^2

    A model that underfits has the first, one that overfits the second. With noise in the targets, its variance is in
    the squared bias; take targets without noise where they are known.

    Args:
      predictions: of M models on the same N examples, float [M, N, ...], M at least 2.
      targets: real numbers [N, ...].

    Returns:
      A `BiasVariance`, in the square of the targets' unit.

    Raises:
      TypeError: predictions are not floating point.
      ValueError: the shapes do not agree, or there is one model only.

    Source: Geman, Bienenstock and Doursat, "Neural Networks and the Bias/Variance Dilemma", 1992, equation 3.
    """
    checks.floating(predictions=predictions)
    checks.shape((None, *np.shape(targets)), predictions=predictions)
    checks.at_least(2, **{"number of models": np.shape(predictions)[0]})
    predictions = widened(predictions)
    targets = jnp.asarray(targets).astype(predictions.dtype)
    mean = jnp.mean(predictions, axis=0)
    return BiasVariance(
        jnp.mean(jnp.square(mean - targets)),
        jnp.mean(jnp.square(predictions - mean[None])),
        jnp.mean(jnp.square(predictions - targets[None])),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingDiagnosis:
    """What the curves of a run show; `print` says it in words.

    Attributes:
      first_not_finite: the first step whose loss is NaN or infinite, int32[]; -1 when there is none.
      flat: the loss no longer moves, bool[].
      vanishing: bool [layers].
      exploding: bool [layers].
      layers: their names.
    """

    first_not_finite: Array
    flat: Array
    vanishing: Array
    exploding: Array
    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    def __str__(self) -> str:
        found = []
        if self.first_not_finite >= 0:
            found.append(f"loss is not finite from step {int(self.first_not_finite)}")
        if self.flat:
            found.append("loss is flat")
        for word, which in (("vanishing", self.vanishing), ("exploding", self.exploding)):
            names = [name for name, bad in zip(self.layers, np.asarray(which)) if bad]
            if names:
                found.append(f"gradients are {word} in {', '.join(names)}")
        return "; ".join(found) or "nothing found"


def diagnose_training(
    loss: Array,
    gradient_norms: Mapping[str, Array] | None = None,
    *,
    window: int = 100,
    flat_below: float = 1e-3,
    vanishing_below: float = 1e-4,
    exploding_above: float = 1e3,
) -> TrainingDiagnosis:
    """Looks through the curves of a run for the ways in which training fails.

    Over the last `window` steps:

    - flat: the mean loss of its second half differs from that of its first by at most flat_below of that;
    - vanishing: the mean gradient norm of a layer is 0, or below vanishing_below of the largest layer's;
    - exploding: a gradient norm of the layer is NaN, infinite, or above exploding_above.

    And over all steps, whether the loss is not finite.

        print(metrics.diagnose_training(losses, {"Dense_0/kernel": norms_0, "Dense_1/kernel": norms_1}))

    A flat loss that is low has converged; the thresholds are settings, not laws.

    Args:
      loss: at each step, float [T], T at least 2.
      gradient_norms: for each layer, float [T]: what `gradient_norms` gave, stacked over steps.
      window: how many of the last steps to look at, at least 2; all, when there are fewer.
      flat_below, vanishing_below: shares, at least 0.
      exploding_above: in the unit of the gradients, positive.

    Returns:
      A `TrainingDiagnosis`. What is not finite is never flat.

    Raises:
      TypeError: loss or norms are not floating point.
      ValueError: the lengths differ, there are fewer than two steps, or a setting is out of range.
    """
    checks.at_least(2, window=window)
    checks.non_negative(flat_below=flat_below, vanishing_below=vanishing_below)
    checks.positive(exploding_above=exploding_above)
    checks.floating(loss=loss)
    checks.rank(1, loss=loss)
    steps = np.shape(loss)[0]
    checks.at_least(2, **{"number of steps": steps})
    curves = dict(gradient_norms or {})
    for name, curve in curves.items():
        label = f"gradient_norms[{name!r}]"
        checks.floating(**{label: curve})
        checks.shape((steps,), **{label: curve})
    loss = widened(loss)
    bad = ~jnp.isfinite(loss)
    last = loss[-window:]
    middle = last.shape[0] // 2
    before, after = jnp.mean(last[:middle]), jnp.mean(last[middle:])
    norms = (
        jnp.stack([widened(curve)[-window:] for curve in curves.values()]) if curves else jnp.zeros((0, 1))
    )
    size = jnp.mean(norms, axis=1)
    largest = jnp.max(size, initial=0, where=jnp.isfinite(size))
    return TrainingDiagnosis(
        jnp.where(jnp.any(bad), jnp.argmax(bad), -1).astype(jnp.int32),
        jnp.isfinite(before) & (jnp.abs(after - before) <= flat_below * jnp.abs(before)),
        (size == 0) | (size < vanishing_below * largest),
        jnp.any(~(norms <= exploding_above), axis=1),
        tuple(curves),
    )

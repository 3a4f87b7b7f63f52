"""Noise while training: on units, connections, paths, inputs and weights.

Every layer is the identity, or the layer it wraps, at evaluation (`train=False`). All draw from the random
stream "dropout". What is dropped is 0, and what stays is divided by the share that stays, so the mean is that
of evaluation.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.dense import takes_train
from jaxdl.types import Array, Params


def _check_rate(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {rate}")


def _drop(key: Array, x: Array, rate: float, shape: Sequence[int]) -> Array:
    """x / (1 - rate) where a draw of the shape, which spreads to that of x, keeps it, and 0 elsewhere."""
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def _key_per_leaf(key: Array, tree: Params) -> Params:
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))


class Dropout(linen.Module):
    """Sets values to 0 at random while training, and scales the rest so that the mean stays.

    y = m x / (1 - rate), m ~ Bernoulli(1 - rate); y = x at evaluation. Draws from the stream "dropout".

    Attributes:
      rate: probability of dropping a value, in [0, 1).
      broadcast_dims: axes along which one draw counts: (1, 2) drops whole maps of [B, H, W, C], (1,) the same
        units in all time steps of [B, T, D].

    Source: Srivastava et al., "Dropout", 2014, section 10 (the scaling at training time, called inverted
    dropout).
    """

    rate: float
    broadcast_dims: Sequence[int] = ()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [...] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: rate lies outside [0, 1), or x lacks an axis of broadcast_dims.
        """
        checks.floating(x=x)
        _check_rate(rate=self.rate)
        shape = list(jnp.shape(x))
        for axis in self.broadcast_dims:
            checks.between(-len(shape), len(shape) - 1, broadcast_dims=axis)
            shape[axis] = 1
        if not train or self.rate == 0:
            return x
        return _drop(self.make_rng("dropout"), x, self.rate, shape)


def classical_dropout(key: Array | None, x: Array, rate: float, *, train: bool) -> Array:
    """Dropout as first published: nothing is scaled while training, everything is at evaluation.

    y = m x with m ~ Bernoulli(1 - rate) while training; y = (1 - rate) x at evaluation, which is the same as
    weights multiplied by 1 - rate in the layer behind.

    Take it to reproduce nets that were trained so; `Dropout` leaves evaluation alone.

    Args:
      key: a JAX key; not read at evaluation, where it may be None.
      x: float, any shape.
      rate: probability of dropping a value, in [0, 1). Some texts write p for it, some for 1 - rate.
      train: whether to draw.

    Returns:
      Like x. Its mean while training is its value at evaluation.

    Raises:
      TypeError: x is not floating point.
      ValueError: rate lies outside [0, 1), or a key is missing while training.

    Source: Srivastava et al., "Dropout", 2014, section 4.
    """
    checks.floating(x=x)
    _check_rate(rate=rate)
    if not train:
        return (1 - rate) * x
    if key is None:
        raise ValueError("key must be a JAX key while training, got None")
    return jnp.where(jax.random.bernoulli(key, 1 - rate, jnp.shape(x)), x, jnp.zeros_like(x))


class DropConnect(linen.Module):
    """Drops connections of a layer, not units: its weights are set to 0 at random while training.

    y = layer(x; m W / (1 - rate)), m ~ Bernoulli(1 - rate) for each weight; y = layer(x; W) at evaluation.

        DropConnect(nn.Dense(64), 0.5)(x, train=train)

    Weights are the parameters with two axes or more; biases and scales stay. A draw holds for the whole call:
    for all rows of a batch, and in a recurrent layer for all time steps. Inside a compact parent the layer's
    parameters stand where they would without the wrapper, so checkpoints fit both.

    Attributes:
      layer: any module; its call is given `train` where it takes it.
      rate: probability of dropping a weight, in [0, 1).

    Source: Wan et al., "Regularization of Neural Networks using DropConnect", 2013, equation 2.
    Differs from the paper: one draw for each call, not for each example (whose weights would not fit in
    memory); biases stay; evaluation takes the mean weights, not samples of their Gaussian approximation.
    """

    layer: linen.Module
    rate: float

    @linen.compact
    def __call__(self, x: Any, *args: Any, train: bool, **kwargs: Any) -> Any:
        """Calls the layer with the same arguments and returns what it returns.

        Raises:
          ValueError: rate lies outside [0, 1).
        """
        _check_rate(rate=self.rate)
        if takes_train(self.layer):
            kwargs["train"] = train
        if not train or self.rate == 0:
            return self.layer(x, *args, **kwargs)
        key = self.make_rng("dropout")

        def dropped(variables: Params) -> Params:
            return jax.tree.map(
                lambda k, w: _drop(k, w, self.rate, w.shape) if w.ndim >= 2 else w,
                _key_per_leaf(key, variables),
                variables,
            )

        return linen.map_variables(
            lambda layer: layer(x, *args, **kwargs), trans_in_fn=dropped, init=self.is_initializing()
        )(self.layer)


class DropAll(linen.Module):
    """Drops inputs of a layer and its connections: `Dropout` in front of `DropConnect`.

    y = layer(n x / (1 - unit_rate); m W / (1 - connection_rate)), n and m Bernoulli; y = layer(x; W) at
    evaluation.

    Attributes:
      layer: any module; its call is given `train` where it takes it.
      unit_rate: probability of dropping a value of x, in [0, 1).
      connection_rate: probability of dropping a weight, in [0, 1).

    Source: Frazao & Alexandre, "DropAll: Generalization of Two Convolutional Neural Network Regularization
    Methods", 2014.
    Differs from the paper, which drops a layer's outputs behind the activation: here they are the next layer's
    inputs.
    """

    layer: linen.Module
    unit_rate: float
    connection_rate: float

    @linen.compact
    def __call__(self, x: Array, *args: Any, train: bool, **kwargs: Any) -> Any:
        """Maps float [...] and any further arguments to what the layer returns.

        Raises:
          TypeError: x is not floating point.
          ValueError: a rate lies outside [0, 1).
        """
        _check_rate(unit_rate=self.unit_rate, connection_rate=self.connection_rate)
        x = Dropout(self.unit_rate)(x, train=train)
        return DropConnect(self.layer, self.connection_rate)(x, *args, train=train, **kwargs)


class DropPath(linen.Module):
    """Drops a whole residual branch, for each example by itself: stochastic depth.

    y = m x / (1 - rate), m ~ Bernoulli(1 - rate), one for each index of the first axis; y = x at evaluation.
    Used as `x + DropPath(0.1)(branch(x), train=train)`, with a rate that grows from 0 at the first block.

    Attributes:
      rate: probability of dropping a branch, in [0, 1).

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, equation 2, arXiv:1603.09382; the name
    is Larsson, Maire & Shakhnarovich's, "FractalNet", 2017.
    Differs from the paper: scaled while training, not at evaluation, and drawn for each example, not once for
    the batch.
    """

    rate: float

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: rate lies outside [0, 1), or x is a scalar.
        """
        checks.floating(x=x)
        _check_rate(rate=self.rate)
        if jnp.ndim(x) == 0:
            raise ValueError("x must have a first axis of examples, got a scalar")
        if not train or self.rate == 0:
            return x
        return _drop(self.make_rng("dropout"), x, self.rate, (x.shape[0],) + (1,) * (x.ndim - 1))


class GaussianNoise(linen.Module):
    """Adds noise to inputs or activations while training.

    y = x + stddev e, e ~ N(0, 1), independent for each value; y = x at evaluation.

    Attributes:
      stddev: at least 0, in the units of x.

    Source: Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", 1995: for a small stddev and
    squared error, noise on the inputs adds (stddev^2 / 2) times `jacobian_penalty` to half the squared error.
    """

    stddev: float

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [...] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: stddev is negative or not finite.
        """
        checks.floating(x=x)
        checks.non_negative(stddev=self.stddev)
        if not train or self.stddev == 0:
            return x
        return _with_noise(self.make_rng("dropout"), x, self.stddev)


def _with_noise(key: Array, x: Array, stddev: float | Array) -> Array:
    # Drawn and added in at least float32: bfloat16 knows 128 normal numbers, none beyond 2.9, with a mean of -0.01.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return (x.astype(wide) + stddev * jax.random.normal(key, jnp.shape(x), wide)).astype(x.dtype)


def weight_noise(key: Array, params: Params, stddev: float | Array) -> Params:
    """Adds noise to every weight: the loss is taken at a point near the parameters.

    w <- w + stddev e, e ~ N(0, 1), independent for each weight. The gradient at the noisy point is meant for
    the parameters without noise:

        def objective(params, model_state, batch, key):
            noise_key, key = jax.random.split(key)
            return clean(nn.weight_noise(noise_key, params, 0.05), model_state, batch, key)

    Evaluate without it. Noise on gradients is `optim.add_gradient_noise`.

    Args:
      key: a JAX key.
      params: pytree of float arrays.
      stddev: at least 0, in the units of the weights.

    Returns:
      A pytree like params.

    Raises:
      TypeError: a leaf is not floating point.
      ValueError: stddev is negative or not finite.

    Source: Graves, "Practical Variational Inference for Neural Networks", 2011; An, "The Effects of Adding
    Noise During Backpropagation Training on a Generalization Performance", 1996.
    """
    checks.non_negative(stddev=stddev)

    def noisy(k: Array, w: Array) -> Array:
        checks.floating(params=w)
        return _with_noise(k, jnp.asarray(w), stddev)

    return jax.tree.map(noisy, _key_per_leaf(key, params), params)

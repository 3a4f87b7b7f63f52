"""Layers whose weights are functions of the parameters: divided by the largest singular value, or by norms.

Shapes: K inputs of a kernel (the product of all its axes but the last), F features.

Both wrap a layer and change each of its parameters that has two axes or more; biases stay. A wrapper made inside
a compact method leaves the layer's parameters where they would be without it:

    x = SpectralNorm(Conv(64, 3))(x, train=train)

`SpectralNorm` bounds the slope of a layer, as critics need it; `WeightNorm` separates the length of a unit's
weights from their direction, which trains faster and does not look at the batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import checks
from jaxdl.nn.dense import takes_train
from jaxdl.nn.initializers import Initializer
from jaxdl.nn.moments import widened
from jaxdl.types import Array, Dtype

# (name of a kernel below the wrapper, the kernel) -> the weight that the layer uses
Reparametrization = Callable[[str, Array], Array]


def _with_weights(wrapper: Any, reparametrize: Reparametrization, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Calls the wrapped layer with its parameters of rank 2 and more replaced."""
    layer = wrapper.layer_instance

    def replaced(variables: Any) -> Any:
        def one(path, value):
            # The path begins with the collection.
            name = "/".join((layer.name, *(entry.key for entry in path[1:])))
            return reparametrize(name, value) if value.ndim > 1 else value

        return jax.tree_util.tree_map_with_path(one, variables)

    if wrapper.is_initializing():
        # The stored parameters are those of the layer itself, so it has to make them before they are replaced.
        layer(*args, **kwargs)
    call = linen.map_variables(lambda layer: layer(*args, **kwargs), "params", replaced)
    return call(layer)


class SpectralNorm(linen.Module):
    """Divides a layer's weights by an estimate of their largest singular value.

    W / s, with s = v W u^T and, repeated n_steps times, v = u W^T / |u W^T| and u = v W / |v W|. The kernel is
    read as a matrix W [K, F]. Derivatives go through W, not through u and v.

    While training u is kept for the next step, so that one step of the iteration a time follows the changing
    weights; at evaluation it starts at the kept u, and nothing changes. The bound is that of the matrix; for a
    convolution the slope of the layer may be larger, by at most the square root of the positions a kernel covers.

    Attributes:
      layer_instance: the layer, such as `Dense(4)`.
      n_steps: steps of the power iteration, at least 1.
      collection: where the state is kept; mutable while training.

    Variables: for each kernel `<layer>/<name>/u` [1, F], normal at the start, and `<layer>/<name>/sigma` [], the
    last s, as linen's.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018, algorithm 1,
    arXiv:1802.05957.
    Differs from torch.nn.utils.spectral_norm at evaluation, where that one uses the last v too instead of
    computing it from u; from linen's in the argument `train`, and in keeping the initial kernel as the layer made
    it, undivided.
    """

    layer_instance: linen.Module
    n_steps: int = 1
    collection: str = "batch_stats"

    @linen.compact
    def __call__(self, *args: Any, train: bool, **kwargs: Any) -> Any:
        """Calls the layer, and hands `train` on if it takes it.

        Raises:
          ValueError: n_steps is below 1.
        """
        checks.at_least(1, n_steps=self.n_steps)
        if takes_train(self.layer_instance):
            kwargs["train"] = train

        def divided(name: str, kernel: Array) -> Array:
            matrix = widened(kernel).reshape(-1, kernel.shape[-1])
            u = self.variable(
                self.collection,
                f"{name}/u",
                lambda: jax.random.normal(self.make_rng("params"), (1, matrix.shape[1])),
            )
            sigma = self.variable(self.collection, f"{name}/sigma", jnp.ones, ())
            fixed, kept = lax.stop_gradient(matrix), jnp.asarray(u.value)
            left, right = lax.fori_loop(
                1,
                self.n_steps,
                lambda _, pair: _power_step(pair[1], fixed),
                _power_step(kept.astype(matrix.dtype), fixed),
            )
            largest = jnp.sum(_product(left, matrix) * right)
            if train and not self.is_initializing():
                u.value, sigma.value = right.astype(kept.dtype), largest.astype(kept.dtype)
            return (kernel / jnp.where(largest == 0, 1, largest)).astype(kernel.dtype)

        return _with_weights(self, divided, args, kwargs)


def _power_step(u: Array, matrix: Array) -> tuple[Array, Array]:
    """The next v [1, K] and u [1, F]."""
    v = _unit(_product(u, matrix.T))
    return v, _unit(_product(v, matrix))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _unit(vector: Array) -> Array:
    """The vector divided by its length, 0 for 0."""
    square = jnp.sum(jnp.square(vector))
    return vector * lax.rsqrt(jnp.where(square > 0, square, 1))


class WeightNorm(linen.Module):
    """Gives the weights of every unit a length of their own.

    w_f = scale_f v_f / |v_f|, for each feature f of a kernel v [..., F], the norm over all axes but the last.

    The loss does not depend on the lengths of the stored v, and its gradient is at right angles to them.

    Attributes:
      layer_instance: the layer, such as `Dense(4)`.
      param_dtype: dtype of the scales.
      scale_init: initial scales, such as ones. None takes the norms of the initial kernel, so that the layer
        starts as it would without the wrapper.

    Variables: for each kernel `<layer>/<name>/scale` [F] in "params", beside the layer's own, as linen's.

    Source: Salimans & Kingma, "Weight Normalization", 2016, equation 2, arXiv:1602.07868.
    Differs from linen's, whose scales start at 1 and whose initial kernel is stored normalized; from
    torch.nn.utils.parametrizations.weight_norm in the feature axis, which there is the first.
    """

    layer_instance: linen.Module
    param_dtype: Dtype = jnp.float32
    scale_init: Initializer | None = None

    @linen.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with the normalized weights."""

        def normalized(name: str, kernel: Array) -> Array:
            wide = widened(kernel)
            square = jnp.sum(jnp.square(wide), axis=tuple(range(kernel.ndim - 1)))
            # A unit without any weight stays without one, and has finite gradients.
            norm = jnp.sqrt(jnp.where(square > 0, square, 1))

            def start(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
                return norm.astype(dtype) if self.scale_init is None else self.scale_init(key, shape, dtype)

            scale = self.param(f"{name}/scale", start, norm.shape, self.param_dtype)
            factor = (scale.astype(norm.dtype) / norm).reshape((1,) * (kernel.ndim - 1) + (-1,))
            return (wide * factor).astype(kernel.dtype)

        return _with_weights(self, normalized, args, kwargs)

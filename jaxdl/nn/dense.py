"""Dense layers, and putting layers one after the other.

Shapes: ... any leading axes, I inputs, F features.
"""

import inspect
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxdl import backends, checks
from jaxdl.nn.initializers import Initializer, lecun_normal, zeros_init
from jaxdl.types import Array, Dtype


class Dense(linen.Module):
    """An affine map of the last axis.

    y = x W + b, with W [I, F] and b [F]; x is a row.

    The leading axes are flattened to one before the product: the gradient of W then is one matrix product without
    a transposed copy, which on CPU is up to 1.5 times faster for [B, T, I].

    Attributes:
      features: F, at least 1.
      use_bias: whether to add b.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters `kernel` and `bias`.
      kernel_init: initial W.
      bias_init: initial b.
    """

    features: int
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [..., I] to [..., F].

        Raises:
          TypeError: x is not floating point (scale images first).
          ValueError: x is a scalar, or features is below 1.
        """
        checks.at_least(1, features=self.features)
        checks.floating(x=x)
        if x.ndim == 0:
            raise ValueError("x must have at least one axis, got a scalar")
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype)
        bias = (
            self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        )
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel)
        if backends.compiles_for_cpu():
            # Five per cent of an MLP's step, ten of a Transformer's: the product is left alone and its
            # neighbours are scheduled better. A GPU would rather have bias and activation inside the product.
            y = lax.optimization_barrier(y)
        if bias is not None:
            y = y + bias[None]
        return y.reshape(*x.shape[:-1], self.features)


def takes_train(layer: Callable[..., Array]) -> bool:
    """Whether a layer's call has an argument `train`."""
    try:
        return "train" in inspect.signature(layer).parameters
    except (TypeError, ValueError):  # some compiled functions have no signature to read
        return False


def one_after_the_other(
    module: linen.Module, layers: Sequence[Callable[..., Array]], x: Array, train: bool
) -> Array:
    """f_n(... f_2(f_1(x))), for a module that has them as its attribute `layers`."""
    for i, layer in enumerate(layers):
        x = layer(x, train=train) if takes_train(layer) else layer(x)
        if not isinstance(layer, linen.Module):
            # Modules are captured by Flax where intermediate values are asked for, functions are not.
            module.sow("intermediates", f"layers_{i}", x)
    return x


class Sequential(linen.Module):
    """Layers one after the other.

    y = f_n(... f_2(f_1(x))).

    Attributes:
      layers: modules and functions of one array, in order. Those whose call has an argument `train` are given
        it.
    """

    layers: Sequence[Callable[..., Array]]

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps the first layer's input to the last layer's output."""
        return one_after_the_other(self, self.layers, x, train)

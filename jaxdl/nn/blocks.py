"""Blocks that several families of nets are built of, and a look at what is inside a net.

Shapes: B batch, ... one to three spatial axes, C input channels, F output channels.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.activations import sigmoid
from jaxdl.nn.convolution import Conv
from jaxdl.nn.dense import Dense, one_after_the_other
from jaxdl.nn.initializers import Initializer, lecun_normal
from jaxdl.nn.pooling import global_average_pool, max_pool
from jaxdl.nn.rectifiers import relu
from jaxdl.types import Array, Dtype


class SkipConnection(linen.Module):
    """Layers, and a way around them.

    With f(x) = f_n(... f_1(x)) the layers: "add" gives y = x + f(x), "concatenate" gives y = [x, f(x)] along
    the channels, x first.

    The way around is x itself, so layers of a sum must keep its shape. A stack of sums adds up: x_L = x_l + sum
    of f_i(x_i) for l <= i < L, and the gradient at x_L reaches x_l undiminished. Nested concatenations make a
    U-Net, those in a row a dense block. For a convolutional block with normalization, and with a projection
    where the shape changes, take `ResidualBlock`.

    Attributes:
      layers: what is skipped, at least one module or function of one array, in order. Those whose call has an
        argument `train` are given it.
      combine: "add" or "concatenate".

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, equation 1, arXiv:1512.03385;
    Huang et al., "Densely Connected Convolutional Networks", 2017, equation 2, arXiv:1608.06993.
    """

    layers: Sequence[Callable[..., Array]]
    combine: str = "add"

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [..., C] to the same shape, or to [..., C + F] with "concatenate".

        Raises:
          TypeError: x is not floating point.
          ValueError: no layers, another word for combine, or layers whose output does not fit to x.
        """
        checks.one_of(("add", "concatenate"), combine=self.combine)
        checks.at_least(1, number_of_layers=len(self.layers))
        checks.floating(x=x)
        y = one_after_the_other(self, self.layers, x, train)
        if self.combine == "add":
            checks.same_shape(x=x, output_of_layers=y)
            return x + y
        checks.rank(x.ndim, output_of_layers=y)
        checks.shape((*x.shape[:-1], None), output_of_layers=y)
        return jnp.concatenate([x, y.astype(jnp.promote_types(x.dtype, y.dtype))], axis=-1)


class InceptionBlock(linen.Module):
    """Convolutions of several sizes side by side, their maps one behind the other.

    y = [1 x 1; 1 x 1 then 3 x 3; 1 x 1 then 5 x 5; maximum 3 x 3 then 1 x 1] along the channels, each
    convolution followed by the normalization, if any, and the activation. Strides are 1 and every branch is
    padded to the input's size. The 1 x 1 in front of the large kernels makes them cheap.

    Attributes:
      one: features of the first branch.
      three_reduce, three: of the second, inside and out.
      five_reduce, five: of the third.
      pool: of the fourth.
      five_size: the kernel of the third branch; some implementations of GoogLeNet have 3.
      pooling: "parallel", as published, or "after": the maximum of the first three branches' output, in place
        of the fourth, as some texts describe the block; `pool` then is 0.
      norm: makes the normalization, called with `dtype`, `param_dtype` and `name`, such as `partial(BatchNorm,
        epsilon=1e-3)`. None for none; then the convolutions have biases.
      activation: f.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initial kernels.

    Variables: `one`, `three_reduce`, `three`, `five_reduce`, `five`, `pool_project`, and `one_norm` and so on.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, figure 2b and table 1, arXiv:1409.4842.
    """

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int
    five_size: int = 5
    pooling: str = "parallel"
    norm: Callable[..., linen.Module] | None = None
    activation: Callable[[Array], Array] = relu
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps float [B, H, W, C] to float [B, H, W, one + three + five + pool].

        Args:
          x: input.
          train: for the normalization.
          mask: bool [B], which examples count, for a normalization that takes one.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has not four axes, or a setting is out of range.
        """
        checks.one_of(("parallel", "after"), pooling=self.pooling)
        checks.rank(4, x=x)
        if self.pooling == "after" and self.pool != 0:
            raise ValueError(f"pool must be 0 with pooling 'after', got {self.pool}")

        def unit(x: Array, features: int, size: int, name: str) -> Array:
            x = Conv(
                features,
                size,
                use_bias=self.norm is None,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                name=name,
            )(x)
            if self.norm is not None:
                norm = self.norm(dtype=self.dtype, param_dtype=self.param_dtype, name=f"{name}_norm")
                takes = inspect.signature(norm).parameters
                offered: dict[str, Any] = {"train": train, "mask": mask}
                x = norm(x, **{key: value for key, value in offered.items() if key in takes})
            return self.activation(x)

        branches = [
            unit(x, self.one, 1, "one"),
            unit(unit(x, self.three_reduce, 1, "three_reduce"), self.three, 3, "three"),
            unit(unit(x, self.five_reduce, 1, "five_reduce"), self.five, self.five_size, "five"),
        ]
        if self.pooling == "after":
            return max_pool(jnp.concatenate(branches, axis=-1), 3, 1, "SAME")
        branches.append(unit(max_pool(x, 3, 1, "SAME"), self.pool, 1, "pool_project"))
        return jnp.concatenate(branches, axis=-1)


class SqueezeExcite(linen.Module):
    """Weighs every map by a number between 0 and 1 that all maps together decide.

    y[b, ..., c] = x[b, ..., c] s[b, c], s = g(f(m W1 + b1) W2 + b2), m the mean of each map.

    Attributes:
      squeeze_features: width of the small net between, in the paper C / 16.
      activation: f.
      gate: g; `hard_sigmoid` in MobileNetV3.
      dtype: computation dtype; None promotes inputs with parameters.
      param_dtype: dtype of the parameters of the `Dense` layers `squeeze` and `excite`.
      kernel_init: initial W1 and W2.

    Source: Hu, Shen & Sun, "Squeeze-and-Excitation Networks", 2018, equations 2 to 4, arXiv:1709.01507.
    """

    squeeze_features: int
    activation: Callable[[Array], Array] = relu
    gate: Callable[[Array], Array] = sigmoid
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Maps float [B, ..., C] to the same shape.

        Raises:
          TypeError: x is not floating point.
          ValueError: x has fewer than three or more than five axes, or squeeze_features is below 1.
        """
        checks.at_least(1, squeeze_features=self.squeeze_features)
        settings = {"dtype": self.dtype, "param_dtype": self.param_dtype, "kernel_init": self.kernel_init}
        s = Dense(self.squeeze_features, name="squeeze", **settings)(global_average_pool(x))
        s = self.gate(Dense(x.shape[-1], name="excite", **settings)(self.activation(s)))
        x, s = linen.dtypes.promote_dtype(x, s, dtype=self.dtype)
        return x * s.reshape(x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])


def _by_path(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _by_path(value, (*path, name))
            continue
        where = "/".join(path if name == "__call__" else (*path, name))
        for i, output in enumerate(value):
            yield (f"{where}[{i}]" if i else where), output


def layer_outputs(
    model: linen.Module, variables: Mapping[str, Any], *args: Any, rngs: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """What every layer inside a model gives, by the layer's name.

    To see activations, to compare nets, or for losses on features. The call is that of `model.apply`, it can be
    jitted and differentiated, and what is not asked for is not kept: under `jax.jit` the compiler drops outputs
    that are not used. It changes no variables; running statistics that the call would update are left behind.

    Args:
      model: any module.
      variables: its variables, as for `apply`.
      *args, **kwargs: as for the model, such as `x, train=False`.
      rngs: keys of random streams, as for `apply`.

    Returns:
      From names such as "encoder/layers_0" to what the layer of that name returned: the path in the parameters,
      with "/" between. A second call of the same layer adds "[1]", a third "[2]". The model itself is "".
      Functions between modules have a name where `Sequential` or `SkipConnection` calls them; so has what a
      module sows in "intermediates".
    """
    variables = {name: value for name, value in variables.items() if name != "intermediates"}
    mutable = ["intermediates", *(name for name in variables if name != "params")]
    _, state = model.apply(variables, *args, rngs=rngs, mutable=mutable, capture_intermediates=True, **kwargs)
    return dict(_by_path(state["intermediates"]))

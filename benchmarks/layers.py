"""Single layers and blocks, forward and backward, against Flax's own and PyTorch's.

Every side has the same parameters and inputs. The loss is the mean of output times fixed random numbers, and what
is compared between the sides is that loss, the norm of the gradients of the kernels, and that of the inputs.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import Row, Run, Side, Target

# What a side is made of: from nothing to `(params, *inputs) -> output`, so that frameworks are imported late.
Make = Callable[[], Callable[..., Any]]
# For PyTorch: from the parameters to `(function of the inputs, the tensors to differentiate)`.
MakeTorch = Callable[[Any], tuple[Callable[..., Any], Sequence[Any]]]
Arrays = Mapping[str, Any]


def arrays(shapes: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Random kernels of variance 1 / fan-in, in the shape of a parameter tree; what has one axis is 0, scales are 1."""
    made: dict[str, Any] = {}
    for name, shape in shapes.items():
        if isinstance(shape, Mapping):
            made[name] = arrays(shape, rng)
        elif len(shape) == 1:
            made[name] = np.full(shape, float(name == "scale"), np.float32)
        else:
            made[name] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
    return made


def _jax_side(
    name: str,
    make: Make,
    params: Arrays,
    inputs: Sequence[np.ndarray],
    weights: np.ndarray,
    with_inputs: bool,
) -> Side:
    def build() -> Run:
        import jax
        import jax.numpy as jnp

        apply = make()

        def loss(params: Any, xs: Any, cotangent: Any) -> Any:
            return jnp.mean(apply(params, *xs) * cotangent)

        # All are arguments of the program and not constants in it, as they are in training.
        given = jax.device_put((params, tuple(inputs), weights))
        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1) if with_inputs else (0,)))

        def run(units: int) -> np.ndarray:
            value, grads = step(*given)
            for _ in range(units - 1):
                value, grads = step(*given)
            jax.block_until_ready(grads)
            paths = jax.tree_util.tree_leaves_with_path(grads[0])
            kernels = [g for path, g in paths if path[-1].key == "kernel"]
            return np.array([float(value), _norm(kernels), _norm(grads[1] if with_inputs else ())])

        return run

    return Side(name, build)


def _norm(values: Sequence[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(v, np.float64))) for v in values)))


def _torch_side(
    name: str,
    make: MakeTorch,
    params: Arrays,
    inputs: Sequence[np.ndarray],
    weights: np.ndarray,
    with_inputs: bool,
    channels_last: bool,
) -> Side:
    def build() -> Run:
        import torch

        apply, leaves = make(params)
        order = (0, 3, 1, 2) if channels_last else None

        def tensor(value: np.ndarray) -> Any:
            made = torch.from_numpy(np.array(value))
            # NHWC in memory and NCHW in the shape: PyTorch's channels_last.
            return made.permute(order) if order else made

        xs = [tensor(x).requires_grad_(with_inputs) for x in inputs]
        cotangent = tensor(weights)
        wanted = [*leaves, *(xs if with_inputs else ())]

        def once() -> tuple[Any, Any]:
            value = (apply(*xs) * cotangent).mean()
            return value, torch.autograd.grad(value, wanted)

        def run(units: int) -> np.ndarray:
            value, grads = once()
            for _ in range(units - 1):
                value, grads = once()
            kernels = [g.detach().numpy() for g in grads[: len(leaves)] if g.ndim > 1]
            of_inputs = [g.detach().numpy() for g in grads[len(leaves) :]]
            return np.array([value.item(), _norm(kernels), _norm(of_inputs)])

        return run

    return Side(name, build, needs=("torch",))


def row(
    name: str,
    trains: str,
    shapes: Mapping[str, Any],
    inputs: Sequence[Sequence[int]],
    output: Sequence[int],
    sides: Mapping[str, Make],
    torch: MakeTorch | None,
    targets: Sequence[Target],
    *,
    units: int,
    with_inputs: bool = True,
    channels_last: bool = False,
) -> Row:
    """A row for one layer.

    Args:
      shapes: tree of the parameters' shapes, with linen's names.
      inputs, output: shapes.
      sides: our side first, then the other JAX ones.
      torch: PyTorch's side, or None.
      with_inputs: whether the gradient of the inputs is wanted; a stem needs none.
      channels_last: PyTorch's memory format for images.
    """
    rng = np.random.default_rng(0)
    params = arrays(shapes, rng)
    xs = [rng.normal(size=shape).astype(np.float32) for shape in inputs]
    weights = rng.normal(size=output).astype(np.float32)
    made = [_jax_side(side, make, params, xs, weights, with_inputs) for side, make in sides.items()]
    if torch is not None:
        made.append(_torch_side("torch", torch, params, xs, weights, with_inputs, channels_last))
    return Row(
        name=name,
        trains=trains,
        sides=made,
        targets=targets,
        unit="pass",
        units=units,
        check_units=1,
        tolerance=2e-3,
        limit=20.0,
    )


def not_slower_than_flax(at_least: float = 0.97) -> Target:
    """The standing target of every layer that Flax has."""
    return Target(f"at least {at_least:g} × the speed of Flax", "flax", "jaxdl", at_least=at_least)


def torch_leaf(value: np.ndarray) -> Any:
    """A tensor to differentiate by."""
    import torch

    return torch.from_numpy(np.array(value)).requires_grad_()


# Dense layers.


def dense_row(batch: int = 12, length: int = 256, inputs: int = 384, features: int = 1536) -> Row:
    """A dense layer over [B, T, I]."""

    def ours():
        from jaxdl import nn

        return lambda params, x: nn.Dense(features).apply({"params": params}, x)

    def flax():
        from flax import linen

        return lambda params, x: linen.Dense(features).apply({"params": params}, x)

    def torch(params):
        from torch.nn import functional

        kernel, bias = torch_leaf(params["kernel"].T), torch_leaf(params["bias"])
        return lambda x: functional.linear(x, kernel, bias), [kernel, bias]

    return row(
        "dense",
        f"Dense {batch * length}×{inputs}×{features}, input [{batch}, {length}, {inputs}]",
        {"kernel": (inputs, features), "bias": (features,)},
        [(batch, length, inputs)],
        (batch, length, features),
        {"jaxdl": ours, "flax": flax},
        torch,
        [not_slower_than_flax()],
        units=8,
    )


def mlp_block_row(batch: int = 12, length: int = 256, inputs: int = 384, hidden: int = 1536) -> Row:
    """Two dense layers with GELU (tanh form) between them, over [B, T, I]."""

    def built(layers: Any, gelu: Callable[[Any], Any]):
        first, second = layers.Dense(hidden), layers.Dense(inputs)

        def apply(params, x):
            h = gelu(first.apply({"params": params["first"]}, x))
            return second.apply({"params": params["second"]}, h)

        return apply

    def ours():
        import jax

        from jaxdl import nn

        return built(nn, jax.nn.gelu)

    def flax():
        from flax import linen

        return built(linen, linen.gelu)

    def torch(params):
        from torch.nn import functional

        leaves = [torch_leaf(params[n][p].T) for n in ("first", "second") for p in ("kernel", "bias")]

        def apply(x):
            h = functional.gelu(functional.linear(x, leaves[0], leaves[1]), approximate="tanh")
            return functional.linear(h, leaves[2], leaves[3])

        return apply, leaves

    return row(
        "mlp_block",
        f"Dense {inputs}-{hidden}-{inputs} with GELU, input [{batch}, {length}, {inputs}]",
        {
            "first": {"kernel": (inputs, hidden), "bias": (hidden,)},
            "second": {"kernel": (hidden, inputs), "bias": (inputs,)},
        },
        [(batch, length, inputs)],
        (batch, length, inputs),
        {"jaxdl": ours, "flax": flax},
        torch,
        [not_slower_than_flax(1.3)],
        units=4,
    )


# Convolutions.


def convolution_row(
    name: str,
    batch: int,
    size: int,
    channels: int,
    features: int,
    kernel: int,
    target: Target,
    *,
    stem: bool,
    units: int,
) -> Row:
    """A convolution with same padding; of a stem, the gradient of the images is not wanted."""

    def applied(layer):
        return lambda params, x: layer.apply({"params": params}, x)

    def ours():
        from jaxdl import nn

        return applied(nn.Conv(features, (kernel, kernel)))

    def flax():
        from flax import linen

        return applied(linen.Conv(features, (kernel, kernel)))

    def torch(params):
        import torch as library
        from torch.nn import functional

        weight = library.from_numpy(np.array(params["kernel"]).transpose(3, 2, 0, 1).copy())
        weight = weight.contiguous(memory_format=library.channels_last).requires_grad_()
        bias = torch_leaf(params["bias"])
        return lambda x: functional.conv2d(x, weight, bias, padding="same"), [weight, bias]

    return row(
        name,
        f"Conv {kernel}×{kernel}, {batch}×{size}×{size}×{channels} to {features}"
        + ", gradient of the kernel alone" * stem,
        {"kernel": (kernel, kernel, channels, features), "bias": (features,)},
        [(batch, size, size, channels)],
        (batch, size, size, features),
        {"jaxdl": ours, "flax": flax},
        torch,
        [target],
        units=units,
        with_inputs=not stem,
        channels_last=True,
    )


def convolution_rows() -> list[Row]:
    """Stems of one and three channels, and the three widths of a small residual net."""
    stem = functools.partial(convolution_row, stem=True, units=16)
    block = functools.partial(
        convolution_row, kernel=3, batch=128, target=not_slower_than_flax(), stem=False, units=4
    )
    return [
        stem("stem_1", 128, 28, 1, 6, 5, not_slower_than_flax(2.0)),
        stem("stem_3", 128, 32, 3, 16, 3, not_slower_than_flax(1.3)),
        block("conv_16", size=32, channels=16, features=16),
        block("conv_32", size=16, channels=32, features=32),
        block("conv_64", size=8, channels=64, features=64),
    ]


# Normalization.


def norm_row(
    name: str,
    trains: str,
    shape: Sequence[int],
    ours: Callable[[], Any],
    flax: Callable[[], Any],
    torch: Callable[[Any, Any, Any], Any],
    target: Target,
    *,
    batch_stats: bool = False,
) -> Row:
    """A normalization with scale and bias over the last axis."""
    features = shape[-1]
    zeros, ones = np.zeros(features, np.float32), np.ones(features, np.float32)
    stats = {"batch_stats": {"mean": zeros, "var": ones}} if batch_stats else {}

    def applied(layer: Any, **settings: Any) -> Callable[..., Any]:
        def apply(params, x):
            variables = {"params": params, **stats}
            return layer.apply(variables, x, mutable=list(stats), **settings)[0]

        return apply

    def torch_side(params):
        scale, bias = torch_leaf(params["scale"]), torch_leaf(params["bias"])
        return lambda x: torch(x, scale, bias), [scale, bias]

    return row(
        name,
        trains,
        {"scale": (features,), "bias": (features,)},
        [shape],
        shape,
        {
            "jaxdl": lambda: applied(ours(), **({"train": True} if batch_stats else {})),
            "flax": lambda: applied(flax()),
        },
        torch_side,
        [target],
        units=16,
        channels_last=len(shape) == 4,
    )


def norm_rows() -> list[Row]:
    """Batch and group norm on feature maps, layer norm on tokens."""

    def ours(name: str, **settings: Any) -> Callable[[], Any]:
        def make() -> Any:
            from jaxdl import nn

            return getattr(nn, name)(**settings)

        return make

    def flax(name: str, **settings: Any) -> Callable[[], Any]:
        def make() -> Any:
            from flax import linen

            return getattr(linen, name)(**settings)

        return make

    def functional(name: str, *arguments: Any, **settings: Any) -> Callable[..., Any]:
        def call(x: Any, scale: Any, bias: Any) -> Any:
            from torch.nn import functional

            return getattr(functional, name)(x, *arguments, weight=scale, bias=bias, **settings)

        return call

    maps = (64, 32, 32, 32)
    return [
        norm_row(
            "batch_norm",
            "batch norm of 64×32×32×32, training",
            maps,
            ours("BatchNorm", eps=1e-5),
            flax("BatchNorm", use_running_average=False, epsilon=1e-5),
            functional("batch_norm", None, None, training=True, eps=1e-5),
            not_slower_than_flax(),
            batch_stats=True,
        ),
        norm_row(
            "group_norm",
            "group norm of 64×32×32×32, 8 groups",
            maps,
            ours("GroupNorm", num_groups=8, eps=1e-5),
            flax("GroupNorm", num_groups=8, epsilon=1e-5),
            functional("group_norm", 8, eps=1e-5),
            not_slower_than_flax(1.6),
        ),
        norm_row(
            "layer_norm",
            "layer norm of 12×256×384",
            (12, 256, 384),
            ours("LayerNorm", eps=1e-5),
            flax("LayerNorm", epsilon=1e-5),
            functional("layer_norm", (384,), eps=1e-5),
            not_slower_than_flax(),
        ),
    ]

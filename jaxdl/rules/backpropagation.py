"""Backpropagation by hand: the four equations, layer by layer, without automatic differentiation.

Shapes: B rows, n_0 inputs, n_l units of layer l, l = 1..L.
Symbols: a_0 = x; z_l = a_{l-1} W_l + b_l; a_l = f_l(z_l); delta_l = dE/dz_l; * is the elementwise product.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array, GradFn, Params

# An activation and its derivative, both functions of the net input z, elementwise.
Activation = tuple[Callable[[Array], Array], Callable[[Array], Array]]


def _sigmoid_derivative(z: Array) -> Array:
    y = jax.nn.sigmoid(z)
    return y * (1 - y)


SIGMOID: Activation = (jax.nn.sigmoid, _sigmoid_derivative)


def _layer_order(params: Mapping[str, Any], layers: Sequence[str] | None) -> list[str]:
    """Names from the input to the output: by number, as JAX sorts dict keys ("Dense_10" before "Dense_2")."""
    if not isinstance(params, Mapping) or not params:
        raise ValueError(f"params must be a dict of at least one layer, got {params!r}")
    if layers is not None:
        if sorted(layers) != sorted(params):
            raise ValueError(f"layers must name every one of {sorted(params)} once, got {list(layers)}")
        return list(layers)
    if len(params) == 1:
        return list(params)
    numbers = {name: int(match[1]) for name in params if (match := re.search(r"_(\d+)$", name))}
    if len(set(numbers.values())) != len(params):
        raise ValueError(
            f"layers must be given where the names in params do not end in _0, _1, ..., got {sorted(params)}"
        )
    return sorted(params, key=numbers.__getitem__)


def check_shapes(params: Mapping[str, Any], names: Sequence[str], x: Array, y: Array | None) -> None:
    """Raises unless x fits the first layer, every layer the one before it, and the targets, if any, the last."""
    checks.floating(inputs=x, **({} if y is None else {"targets": y}))
    checks.rank(2, inputs=x)
    width = x.shape[1]
    for name in names:
        unknown = set(params[name]) - {"kernel", "bias"}
        if unknown or "kernel" not in params[name]:
            raise ValueError(f"{name} must hold a kernel and at most a bias, got {sorted(params[name])}")
        checks.floating(**{f"{name}/{part}": array for part, array in params[name].items()})
        kernel = params[name]["kernel"]
        checks.shape((width, None), **{f"{name}/kernel": kernel})
        width = kernel.shape[1]
        if "bias" in params[name]:
            checks.shape((width,), **{f"{name}/bias": params[name]["bias"]})
    if y is not None:
        checks.shape((x.shape[0], width), targets=y)


def manual_backprop(
    *,
    activation: Activation = SIGMOID,
    output_activation: Activation | None = None,
    inputs: str = "x",
    targets: str = "y",
    reduction: str = "sum",
    layers: Sequence[str] | None = None,
    sequential_learning_rate: float | None = None,
) -> GradFn:
    """Gradient of the half squared error of a fully connected net, by the four equations of backpropagation.

    E = 1/2 sum over rows and outputs of (a_L - y)^2                       (times 1/B for the mean over rows)

    delta_L = (a_L - y) * f_L'(z_L)                                        error of the output layer
    delta_l = (delta_{l+1} W_{l+1}^T) * f_l'(z_l),  l = L-1, ..., 1        error of a hidden layer
    dE/dW_l = a_{l-1}^T delta_l                                            gradient of a weight
    dE/db_l = sum over rows of delta_l                                     gradient of a bias

    With `sequential_learning_rate` eta the layers learn one after the other, from the last to the first, and
    each hands its error down through the weights that it already has updated:

    delta_l = (delta_{l+1} (W_{l+1} - eta dE/dW_{l+1})^T) * f_l'(z_l)

    Activations and delta_{l+1} stay those of before the update. This is not a gradient of anything; it is
    what a program does that updates in place while it goes backwards. An estimator does not see the
    optimizer, so eta is named in both places: `make_update(manual_backprop(sequential_learning_rate=0.5),
    gradient_descent(0.5))`. With any other optimizer the weights handed down would not be those that the
    layer ends up with.

    Args:
      activation: (f, f') of the hidden layers and, unless the next is given, of the output layer; both of z.
      output_activation: (f, f') of the output layer.
      inputs: key of the batch with x, float [B, n_0].
      targets: key of the batch with y, float [B, n_L].
      reduction: "sum" or "mean" over rows; outputs are summed in both.
      layers: names of the layers from the input to the output. None takes names that end in _0, _1, ... in
        the order of those numbers.
      sequential_learning_rate: eta > 0 for the sequential form; None for the gradient (simultaneous updates).

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`, the signature of
      `jax.value_and_grad(objective, has_aux=True)`. `params` is `{layer: {"kernel": [n_{l-1}, n_l], "bias":
      [n_l]}}` with or without the bias, as `models.dense.MLP` has it, and `grads` is like it. The loss is
      float[]; `mean_squared_error` is over rows and outputs; both are of before the update. The key is
      unused.

    Raises:
      ValueError: bad reduction or rate; at the call, shapes that do not fit, layers whose order is unknown.
      TypeError: at the call, inputs, targets or parameters are not floating point.

    Source: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986,
    equations 4 to 7; sequential: the printed losses of a worked example in wide circulation.
    """
    checks.one_of(("sum", "mean"), reduction=reduction)
    if sequential_learning_rate is not None:
        checks.positive(sequential_learning_rate=sequential_learning_rate)
    output_activation = output_activation or activation

    def fn(params: Params, model_state, batch, key):
        del key
        x, y = batch[inputs], batch[targets]
        names = _layer_order(params, layers)
        check_shapes(params, names, x, y)
        functions = [activation] * (len(names) - 1) + [output_activation]

        values, nets = [x], []
        for name, (f, _) in zip(names, functions):
            net = values[-1] @ params[name]["kernel"]
            if "bias" in params[name]:
                net = net + params[name]["bias"][None, :]
            nets.append(net)
            values.append(f(net))

        error = values[-1] - y
        scale = 1 if reduction == "sum" else 1 / x.shape[0]
        wide = error.astype(jnp.promote_types(error.dtype, jnp.float32))
        loss = scale * jnp.sum(jnp.square(wide)) / 2
        metrics = {"mean_squared_error": jnp.mean(jnp.square(wide))}

        grads = {}
        downward = scale * error  # dE/da of the layer at hand
        for l in reversed(range(len(names))):
            layer = params[names[l]]
            delta = downward * functions[l][1](nets[l])
            gradient = {"kernel": values[l].T @ delta, "bias": delta.sum(axis=0)}
            grads[names[l]] = {name: gradient[name].astype(p.dtype) for name, p in layer.items()}
            kernel = layer["kernel"]
            if sequential_learning_rate is not None:
                kernel = kernel - sequential_learning_rate * grads[names[l]]["kernel"]
            downward = delta @ kernel.T
        return (loss, (model_state, metrics)), {name: grads[name] for name in params}

    return fn

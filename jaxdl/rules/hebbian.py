"""Correlation learning in one layer: Hebb's rule, and Oja's, which keeps it within bounds.

Shapes: B rows, n inputs, m outputs. Parameters are those of one dense layer, {name: {"kernel": [n, m], "bias": [m]}}
with or without the bias.
"""

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.rules.backpropagation import check_shapes
from jaxdl.rules.perceptron import single_layer
from jaxdl.types import GradFn


def hebbian_rule(*, inputs: str = "x", targets: str | None = None, reduction: str = "sum") -> GradFn:
    """What is active together is tied together.

    dE/dW = -sum over rows of x^T y,  dE/db = -sum over rows of y,  so that descent at rate alpha adds alpha x y

    y is the layer's answer, y = x W + b, or, where `targets` is given, what the batch says it should be: that is
    associative learning, the Hebb net. Without targets the weights grow without bound towards the direction in which
    the inputs vary most; `oja_rule` keeps their length. To forget, put weight decay into the optimizer.

    Args:
      inputs: key of the batch with x, float [B, n].
      targets: key of the batch with y, float [B, m]; None for the layer's own answer.
      reduction: "sum" or "mean" over rows.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss, float[], is what `grads`
      is the gradient of: minus the sum of y (x W + b) over rows and outputs, halved for the layer's own answer. It has
      no lower bound. `mean_square_output` is of x W + b. Both are of before the update. The key is unused.

    Raises:
      ValueError: bad reduction; at the call, shapes that do not fit or more than one layer.
      TypeError: at the call, inputs, targets or parameters are not floating point.

    Source: Hebb, "The organization of behavior", 1949, chapter 4; with targets: Fausett, "Fundamentals of neural
    networks", 1994, section 2.2.
    """
    checks.one_of(("sum", "mean"), reduction=reduction)

    def fn(params, model_state, batch, key):
        del key
        x, name = batch[inputs], single_layer(params)
        check_shapes(params, [name], x, None if targets is None else batch[targets])
        layer = params[name]
        net = x @ layer["kernel"]
        if "bias" in layer:
            net = net + layer["bias"][None, :]
        y = net if targets is None else batch[targets]
        scale = 1 if reduction == "sum" else 1 / x.shape[0]
        gradient = {"kernel": -scale * x.T @ y, "bias": -scale * y.sum(axis=0)}
        grads = {name: {part: gradient[part].astype(p.dtype) for part, p in layer.items()}}
        wide = jnp.promote_types(net.dtype, jnp.float32)
        loss = -scale * jnp.sum(y * net, dtype=wide) / (2 if targets is None else 1)
        metrics = {"mean_square_output": jnp.mean(jnp.square(net), dtype=wide)}
        return (loss, (model_state, metrics)), grads

    return fn


def oja_rule(*, form: str = "ordered", inputs: str = "x", reduction: str = "sum") -> GradFn:
    """Hebb's rule minus what the outputs explain already: the layer finds the principal components of its inputs.

    y = x W
    ordered:   dE/dw_j = -sum over rows of y_j (x - sum of y_i w_i over i = 1..j)      (Sanger)
    subspace:  dE/dw_j = -sum over rows of y_j (x - sum of y_i w_i over all i)         (Oja)

    With one output both are Oja's rule, y (x - y w): w tends to the first principal component, of length 1. With m
    outputs the ordered form tends to the first m components, one in each column, in order; the subspace form to some
    orthonormal basis of what they span. Neither is the gradient of anything. Inputs must have mean 0, or the first
    component is mostly that mean. Start from columns no longer than about 1 and keep the rate below 1 / (the sum of the
    rows' squared lengths), or the weights diverge; take the mean over rows for large batches.

    Args:
      form: "ordered" or "subspace".
      inputs: key of the batch with x, float [B, n].
      reduction: "sum" or "mean" over rows.

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is half the squared error
      of the reconstruction, 1/2 |x - y W^T|^2, summed over inputs and reduced over rows, float[];
      `mean_square_output` is the variance that the outputs hold. Both are of before the update. The key is unused.

    Raises:
      ValueError: unknown form or reduction; at the call, shapes that do not fit, more than one layer or a layer with a
        bias.
      TypeError: at the call, inputs or parameters are not floating point.

    Source: Oja, "A simplified neuron model as a principal component analyzer", 1982; ordered: Sanger, "Optimal
    unsupervised learning in a single-layer linear feedforward neural network", 1989; subspace: Oja, "Neural networks,
    principal components, and subspaces", 1989.
    """
    checks.one_of(("ordered", "subspace"), form=form)
    checks.one_of(("sum", "mean"), reduction=reduction)

    def fn(params, model_state, batch, key):
        del key
        x, name = batch[inputs], single_layer(params)
        check_shapes(params, [name], x, None)
        if "bias" in params[name]:
            raise ValueError(f"{name} must hold a kernel and no bias, got {sorted(params[name])}")
        kernel = params[name]["kernel"]
        y = x @ kernel
        scale = 1 if reduction == "sum" else 1 / x.shape[0]
        together = y.T @ y
        explained = kernel @ (jnp.triu(together) if form == "ordered" else together)
        grads = {name: {"kernel": (scale * (explained - x.T @ y)).astype(kernel.dtype)}}
        wide = jnp.promote_types(y.dtype, jnp.float32)
        loss = scale * jnp.sum(jnp.square(x - y @ kernel.T), dtype=wide) / 2
        metrics = {"mean_square_output": jnp.mean(jnp.square(y), dtype=wide)}
        return (loss, (model_state, metrics)), grads

    return fn

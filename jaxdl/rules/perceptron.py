"""Error correction in one layer of neurons: the perceptron rule and the delta rule.

Shapes: B rows, n inputs, m outputs. Parameters are those of one dense layer, {name: {"kernel": [n, m],
"bias": [m]}} with or without the bias. The rules sum over rows; for the sequential algorithms of the books,
scan an update over batches of one row.
"""

from collections.abc import Mapping

import jax.numpy as jnp

from jaxdl import checks
from jaxdl.rules.backpropagation import Activation, check_shapes, manual_backprop
from jaxdl.types import GradFn, Params

IDENTITY: Activation = (lambda z: z, jnp.ones_like)


def single_layer(params: Params) -> str:
    """The name of the one layer; raises where there is none or more than one."""
    if not isinstance(params, Mapping):
        raise ValueError(f"params must be a dict of one dense layer, got {type(params).__name__}")
    if len(params) != 1:
        raise ValueError(f"params must be one dense layer, got {sorted(params)}")
    return next(iter(params))


def perceptron_rule(
    *,
    coding: str = "bipolar",
    dead_zone: float | None = None,
    inputs: str = "x",
    targets: str = "y",
) -> GradFn:
    """Moves the weights along the input where the answer is wrong, and not where it is right.

    z = x W + b
    dE/dW = -sum over rows of x^T (t * [answer is not t]),  t = +1 or -1

    The answer is +1 where z >= 0 and -1 elsewhere. With a dead zone theta it is +1 where z > theta, -1 where
    z < -theta, and none between, which is always wrong. With gradient descent at rate alpha the update is
    W += alpha t x, which for bipolar answers is alpha/2 (t - y) x and for binary ones alpha (t - y) x.

    When to stop: after an epoch of one-row updates without an error. Where a plane with margin g separates rows no
    longer than R (the bias counts as an input of 1), that comes after at most (R / g)^2 updates from a start at 0,
    whatever the order of the rows and the rate (Novikoff 1962; with a dead zone theta and rate alpha,
    (R^2 + 2 theta / alpha) / g^2). Where no plane separates them (XOR) it never comes, so limit the epochs as well:

        epoch = train.scan_steps(train.make_update(perceptron_rule(), tx), num_rows)    # batches of one row
        hooks = [train.StoppingCriterion(monitor="errors", error_limit=0, iterations=max_epochs)]

    Args:
      coding: of the targets; "bipolar" is -1 and +1, "binary" 0 and 1.
      dead_zone: theta >= 0, or None for none.
      inputs: key of the batch with x, float [B, n].
      targets: key of the batch with the targets, float [B, m].

    Returns:
      `(params, model_state, batch, key) -> ((loss, (model_state, metrics)), grads)`. The loss is the
      perceptron criterion, the sum of theta - t z over the wrong answers, float[] (theta = 0 without a dead
      zone); `errors` is their number, float[]. Both are of before the update. The key is unused.

    Raises:
      ValueError: unknown coding or negative dead zone; at the call, shapes that do not fit or more than one
        layer.
      TypeError: at the call, inputs or targets are not floating point.

    Source: Rosenblatt, "The perceptron", 1958; with a dead zone: Fausett, "Fundamentals of neural networks",
    1994, section 2.3. The bound: Novikoff, "On convergence proofs on perceptrons", 1962, theorem 1.
    """
    checks.one_of(("bipolar", "binary"), coding=coding)
    if dead_zone is not None:
        checks.non_negative(dead_zone=dead_zone)
    threshold = 0.0 if dead_zone is None else dead_zone

    def fn(params, model_state, batch, key):
        del key
        x, y = batch[inputs], batch[targets]
        name = single_layer(params)
        check_shapes(params, [name], x, y)
        layer = params[name]
        net = x @ layer["kernel"]
        if "bias" in layer:
            net = net + layer["bias"][None, :]
        sign = y if coding == "bipolar" else 2 * y - 1
        if dead_zone is None:
            answer = jnp.where(net >= 0, 1, -1)
        else:
            answer = jnp.where(jnp.abs(net) > threshold, jnp.sign(net), 0)
        wrong = (answer != sign).astype(net.dtype)
        correction = wrong * sign
        gradient = {"kernel": -x.T @ correction, "bias": -correction.sum(axis=0)}
        grads = {name: {part: gradient[part].astype(p.dtype) for part, p in layer.items()}}
        loss = jnp.sum(wrong * (threshold - sign * net), dtype=jnp.promote_types(net.dtype, jnp.float32))
        return (loss, (model_state, {"errors": jnp.sum(wrong, dtype=jnp.float32)})), grads

    return fn


def delta_rule(
    *,
    activation: Activation = IDENTITY,
    inputs: str = "x",
    targets: str = "y",
    reduction: str = "sum",
) -> GradFn:
    """Gradient of the half squared error of one layer: least mean squares.

    z = x W + b
    dE/dW = -x^T ((t - f(z)) * f'(z)),  so that gradient descent at rate alpha adds alpha (t - f(z)) f'(z) x

    Args:
      activation: (f, f'), both of z; the identity makes it the Widrow-Hoff rule.
      inputs: key of the batch with x, float [B, n].
      targets: key of the batch with t, float [B, m].
      reduction: "sum" or "mean" over rows; outputs are summed in both.

    Returns:
      An estimator as that of `manual_backprop`, of which this is the case of one layer.

    Raises:
      ValueError: bad reduction; at the call, shapes that do not fit or more than one layer.
      TypeError: at the call, inputs or targets are not floating point.

    Source: Widrow & Hoff, "Adaptive switching circuits", 1960.
    """
    gradient = manual_backprop(activation=activation, inputs=inputs, targets=targets, reduction=reduction)

    def fn(params, model_state, batch, key):
        single_layer(params)
        return gradient(params, model_state, batch, key)

    return fn

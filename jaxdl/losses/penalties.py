"""Penalties on the derivative of a function with respect to its input, one value for each example.

The function comes first and must treat each example by itself: a net with batch statistics mixes them, and the
penalty is then of the mixture. B is the batch. Half precision is computed in the function's own dtype and summed in
float32. `where` is bool [B]; masked values and their gradients are 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_where, examplewise, length, widened, without
from jaxdl.types import Array


def _input_gradients(function: Callable[[Array], Array], x: Array) -> Array:
    """The gradient of each example's outputs, summed, with respect to that example, [B, everything else]."""
    gradients = jax.grad(lambda x: jnp.sum(widened(function(x))))(x)
    return widened(gradients.reshape(len(x), -1))


def _check_batch(**arrays: Array) -> None:
    checks.floating(**arrays)
    for name, x in arrays.items():
        if jnp.ndim(x) < 2:
            raise ValueError(f"{name} must have a batch axis and others, got shape {jnp.shape(x)}")


def gradient_penalty(
    critic: Callable[[Array], Array],
    real: Array,
    fake: Array,
    key: Array,
    where: Array | None = None,
    *,
    target_norm: float = 1.0,
) -> Array:
    """Squared difference from 1 of the length of a critic's gradient, between real and generated data.

    l = (|grad_u D(u)| - target_norm)^2,  u = e x + (1 - e) G(z),  e uniform in [0, 1) for each example

    Args:
      critic: scores [B] or [B, ...] (summed over patches) of samples [B, ...], example by example.
      real: x, float [B, ...].
      fake: G(z), float [B, ...].
      key: of the places between.
      where: bool [B], or None for all.
      target_norm: the length wanted, at least 0.

    Returns:
      float [B], in squared scores per unit of the data; weighted by 10 in the source. At a critic without
      any slope its gradient is 0.

    Raises:
      TypeError: real or fake are not floating point, or where is not bool.
      ValueError: the shapes differ, or target_norm is negative.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3.
    """
    _check_batch(real=real, fake=fake)
    checks.same_shape(real=real, fake=fake)
    checks.non_negative(target_norm=target_norm)
    # In float32 for any dtype: the same places, and not the 128 that bfloat16 would know.
    share = jax.random.uniform(key, (len(real),) + (1,) * (jnp.ndim(real) - 1), jnp.float32)
    share = share.astype(jnp.asarray(real).dtype)

    def formula(real: Array, fake: Array) -> Array:
        slope = length(_input_gradients(critic, share * real + (1 - share) * fake))
        return jnp.square(slope - target_norm)

    return examplewise(formula, jnp.asarray(real), jnp.asarray(fake), where=where, shape=(len(real),))


def r1_penalty(discriminator: Callable[[Array], Array], real: Array, where: Array | None = None) -> Array:
    """Half the squared length of a discriminator's gradient on real data.

    l = |grad_x D(x)|^2 / 2

    Args:
      discriminator: logits [B] or [B, ...] (summed over patches) of data [B, ...], example by example.
      real: x, float [B, ...].
      where: bool [B], or None for all.

    Returns:
      float [B], in squared logits per unit of the data; weighted by 10 in the source.

    Raises:
      TypeError: real is not floating point, or where is not bool.
      ValueError: real has nothing besides a batch axis.

    Source: Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?", 2018,
    equation 9.
    """
    _check_batch(real=real)

    def formula(real: Array) -> Array:
        return 0.5 * jnp.sum(jnp.square(_input_gradients(discriminator, real)), axis=-1)

    return examplewise(formula, jnp.asarray(real), where=where, shape=(len(real),))


def contractive_penalty(
    encoder: Callable[[Array], Array], inputs: Array, where: Array | None = None
) -> Array:
    """Squared size of the Jacobian of an encoder: how much its code moves with its input.

    l = |dh/dx|_F^2 = sum_ij (dh_j / dx_i)^2

    One backward pass for each unit of the code. One layer has a closed form, at the price of a forward pass:
    `sigmoid_contractive_penalty`, `relu_contractive_penalty`.

    Args:
      encoder: codes [B, ...] of inputs [B, ...], example by example.
      inputs: x, float [B, ...].
      where: bool [B], or None for all.

    Returns:
      float [B], in squared code per unit of the inputs.

    Raises:
      TypeError: inputs are not floating point, or where is not bool.
      ValueError: inputs have nothing besides a batch axis.

    Source: Rifai et al., "Contractive Auto-Encoders", 2011, equation 1.
    """
    _check_batch(inputs=inputs)

    def formula(x: Array) -> Array:
        def code(x: Array) -> Array:
            return encoder(x).reshape(len(x), -1)

        def row(unit: Array) -> Array:
            gradient = jax.grad(lambda x: jnp.sum(code(x) * unit[None]))(x)
            return jnp.sum(jnp.square(widened(gradient.reshape(len(x), -1))), axis=-1)

        # The way forward is the same for all units, so vmap goes it once.
        codes = jax.eval_shape(code, x)
        return jnp.sum(jax.vmap(row)(jnp.eye(codes.shape[1], dtype=codes.dtype)), axis=0)

    return examplewise(formula, jnp.asarray(inputs), where=where, shape=(len(inputs),))


def _of_one_layer(
    hidden: Array, kernel: Array, slopes: Callable[[Array], Array], where: Array | None
) -> Array:
    """sum_j slope_j^2 sum_i W_ij^2."""
    checks.floating(hidden=hidden, kernel=kernel)
    checks.rank(2, hidden=hidden, kernel=kernel)
    checks.shape((None, jnp.shape(hidden)[1]), kernel=kernel)
    sizes = jnp.sum(jnp.square(widened(kernel)), axis=0)
    h = widened(hidden)
    if where is not None:
        check_where(where, h.shape[:1])
        h = without(where, h)
    total = jnp.matmul(jnp.square(slopes(h)), sizes, precision="highest")
    return total if where is None else jnp.where(where, total, 0)


def sigmoid_contractive_penalty(hidden: Array, kernel: Array, where: Array | None = None) -> Array:
    """`contractive_penalty` of one sigmoid layer, h = sigmoid(x W + b), in closed form.

    l = sum_j (h_j (1 - h_j))^2 sum_i W_ij^2

    Args:
      hidden: h, in [0, 1], float [B, H].
      kernel: W, float [D, H].
      where: bool [B], or None for all.

    Returns:
      float [B].

    Raises:
      TypeError: hidden or kernel are not floating point, or where is not bool.
      ValueError: the shapes do not fit.

    Source: Rifai et al., "Contractive Auto-Encoders", 2011, section 3.
    """
    return _of_one_layer(hidden, kernel, lambda h: h * (1 - h), where)


def relu_contractive_penalty(hidden: Array, kernel: Array, where: Array | None = None) -> Array:
    """`contractive_penalty` of one rectified layer, h = max(0, x W + b), in closed form.

    l = sum_j [h_j > 0] sum_i W_ij^2. No gradient reaches the hidden units: where they are active is a step.

    Args:
      hidden: h, float [B, H].
      kernel: W, float [D, H].
      where: bool [B], or None for all.

    Returns:
      float [B].

    Raises:
      TypeError: hidden or kernel are not floating point, or where is not bool.
      ValueError: the shapes do not fit.

    Source: Rifai et al., "Contractive Auto-Encoders", 2011, equation 1.
    """
    return _of_one_layer(hidden, kernel, lambda h: (h > 0).astype(h.dtype), where)

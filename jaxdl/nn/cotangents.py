"""Identities whose derivative is another one: they change what flows back, not what flows forward."""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


@jax.custom_jvp
def _scaled_tangent(x, scale):
    del scale
    return x


@_scaled_tangent.defjvp
def _scaled_tangent_jvp(primals, tangents):
    x, scale = primals
    return x, scale * tangents[0]


def gradient_reversal(x: Array, scale: float | Array = 1.0) -> Array:
    """The identity, with the gradient turned round: what is in front of it learns to do its harm.

    y = x, dL/dx = -scale dL/dy. Between an encoder and a classifier of the domain, it makes the classifier
    better and the encoder worse at telling domains apart, so that source and target look alike (domain
    confusion).

    Args:
      x: float, any shape.
      scale: at least 0; a number, or float [] that a schedule gives.

    Returns:
      x itself. The derivative is -scale in forward mode too; a second derivative is that of the gradient as it
      comes out, turned round once.

    Raises:
      TypeError: x is not floating point.
      ValueError: scale is negative or not finite.

    Source: Ganin & Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", 2015, equations 9 and 10,
    arXiv:1409.7495.
    """
    checks.floating(x=x)
    checks.non_negative(scale=scale)
    checks.rank(0, scale=scale)
    return _scaled_tangent(x, -jnp.asarray(scale, jnp.asarray(x).dtype))


@jax.custom_vjp
def _clipped_cotangent(x, limit):
    del limit
    return x


def _clipped_cotangent_fwd(x, limit):
    return x, limit


def _clipped_cotangent_bwd(limit, cotangent):
    return jnp.clip(cotangent, -limit, limit), jnp.zeros_like(limit)


_clipped_cotangent.defvjp(_clipped_cotangent_fwd, _clipped_cotangent_bwd)


def gradient_clip_identity(x: Array, limit: float | Array) -> Array:
    """The identity, with every entry of the gradient limited.

    y = x, dL/dx = min(max(dL/dy, -limit), limit). On the pre-activations of a recurrent layer it stops
    a gradient from exploding within the sum over time, where `optim.clip_by_value` and its kin see the
    parameters' whole gradient, after it exploded. Limits of 10 inside an LSTM and 100 at the output are the source's.

    Args:
      x: float, any shape.
      limit: above 0, in units of the loss over those of x; a number, or float [].

    Returns:
      x itself. Reverse mode only, since clipping is not linear in the tangent: `jax.jvp` raises TypeError.

    Raises:
      TypeError: x is not floating point.
      ValueError: limit is not positive and finite.

    Source: Graves, "Generating Sequences With Recurrent Neural Networks", 2013, section 2.1, arXiv:1308.0850.
    """
    checks.floating(x=x)
    checks.positive(limit=limit)
    checks.rank(0, limit=limit)
    return _clipped_cotangent(x, jnp.asarray(limit, jnp.asarray(x).dtype))

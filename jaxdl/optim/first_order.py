"""Steps along the gradient or a running sum of gradients.

Symbols: theta parameters, g gradient at theta, eta learning rate, mu or beta the decay, v the velocity (zero
  at first).
"""

from typing import NamedTuple

import jax
import optax

from jaxdl import checks
from jaxdl.optim.accumulators import accumulator, cast_like, moving_average
from jaxdl.optim.learning_rate import ScaleByLearningRateState, scale_by_learning_rate
from jaxdl.types import Dtype, Params


class ScaleByMomentumState(NamedTuple):
    velocity: Params  # v_t, like params, float32 or wider


def scale_by_momentum(
    decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Replaces the gradient by a decaying sum of all gradients.

    v_t = decay v_{t-1} + g_t
    u_t = v_t

    Args:
      decay: mu in [0, 1).
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: decay outside [0, 1).

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    Differs from `optax.trace`, which keeps v in the parameter's dtype, also where that is bfloat16.
    """
    checks.decay(decay=decay)

    def init_fn(params):
        return ScaleByMomentumState(accumulator(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        del params
        velocity = jax.tree.map(lambda v, g: decay * v + g, state.velocity, updates)
        return cast_like(velocity, updates), ScaleByMomentumState(cast_like(velocity, state.velocity))

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByEmaMomentumState(NamedTuple):
    average: Params  # v_t, like params, float32 or wider


def scale_by_ema_momentum(
    decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Replaces the gradient by an exponential moving average of all gradients.

    v_t = decay v_{t-1} + (1 - decay) g_t
    u_t = v_t

    There is no bias correction: the first step is (1 - decay) times as long as that of gradient descent.

    Args:
      decay: beta in [0, 1).
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: decay outside [0, 1).

    Differs from `optax.ema`, which corrects the bias unless told not to; and from PyTorch's SGD with
    `dampening = momentum`, whose average starts at the first gradient instead of 0.
    """
    checks.decay(decay=decay)

    def init_fn(params):
        return ScaleByEmaMomentumState(accumulator(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        del params
        average = moving_average(decay, state.average, updates)
        return cast_like(average, updates), ScaleByEmaMomentumState(cast_like(average, state.average))

    return optax.GradientTransformation(init_fn, update_fn)


class ScaleByNesterovState(NamedTuple):
    lead: Params  # mu v_t: how far, in units of -eta, the parameters stand ahead of the iterate


def scale_by_nesterov(
    decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Nesterov momentum, written for parameters that stand at the look-ahead point.

    v_t = decay v_{t-1} + g_t
    u_t = g_t + decay v_t

    The state keeps decay v_t, which is all that both lines need. See `nesterov` for the published form.

    Args:
      decay: mu in [0, 1).
      accumulator_dtype: of the state; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: decay outside [0, 1).

    Source: Bengio, Boulanger-Lewandowski & Pascanu, "Advances in optimizing recurrent networks", 2013,
    section 3.5, arXiv:1212.0901.
    """
    checks.decay(decay=decay)

    def init_fn(params):
        return ScaleByNesterovState(accumulator(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        del params
        # Multiplied out: XLA computes a sum of two arrays once, for state and step, but this sum's multiple twice.
        lead = jax.tree.map(lambda m, g: decay * m + decay * g, state.lead, updates)
        direction = jax.tree.map(lambda m, g: (m + g).astype(g.dtype), lead, updates)
        return direction, ScaleByNesterovState(cast_like(lead, state.lead))

    return optax.GradientTransformation(init_fn, update_fn)


def gradient_descent(
    learning_rate: optax.ScalarOrSchedule, *, maximize: bool = False
) -> optax.GradientTransformation:
    """Steepest descent, or ascent.

    theta_{t+1} = theta_t - eta g_t     (+ where `maximize`)

    `sgd(eta)` is the same downhill, under the name that it has on batches.

    Args:
      learning_rate: eta >= 0, number or schedule.
      maximize: climb instead: for an objective that is a reward or a likelihood.

    Raises:
      ValueError: the learning rate is negative or not finite.

    Source: Cauchy, "Methode generale pour la resolution des systemes d'equations simultanees", 1847.
    """
    return scale_by_learning_rate(learning_rate, flip_sign=not maximize)


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float | None = None,
    nesterov: bool = False,
    accumulator_dtype: Dtype | None = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent in the form of Optax and PyTorch, momentum included.

    theta_{t+1} = theta_t - eta u_t, where u_t is
      g_t                          without momentum,
      v_t = mu v_{t-1} + g_t       with momentum mu,
      g_t + mu v_t                 with Nesterov momentum.

    Args:
      learning_rate: eta >= 0, number or schedule.
      momentum: mu in [0, 1), or None.
      nesterov: evaluate at the look-ahead point, as in `nesterov`; needs `momentum`.
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: the learning rate is negative or not finite, momentum is outside [0, 1), or nesterov lacks
        momentum.

    Source: Robbins & Monro, "A stochastic approximation method", 1951; with momentum: Sutskever et al., "On
    the importance of initialization and momentum in deep learning", 2013.
    Its three cases have names of their own, `gradient_descent`, `momentum` and `nesterov`; take this one where
    `optax.sgd` stood, or where momentum is a setting.
    Differs from `optax.sgd`, which ignores `nesterov` where there is no momentum.
    """
    if momentum is None:
        if nesterov:
            raise ValueError("nesterov=True needs momentum in [0, 1), got momentum=None")
        return scale_by_learning_rate(learning_rate)
    checks.decay(momentum=momentum)
    scale = scale_by_nesterov if nesterov else scale_by_momentum
    return optax.chain(scale(momentum, accumulator_dtype), scale_by_learning_rate(learning_rate))


def momentum(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Gradient descent of a heavy ball.

    v_t = decay v_{t-1} + g_t
    theta_{t+1} = theta_t - eta v_t

    On a steady slope the step grows to eta / (1 - decay) times the gradient. `sgd(eta, decay)` is the same.

    Args:
      learning_rate: eta >= 0, number or schedule.
      decay: mu in [0, 1).
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: the learning rate is negative or not finite, or decay is outside [0, 1).

    Source: Polyak 1964; Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
    1986, equation 9.
    Differs from those, where a change of eta reaches only new gradients: here eta multiplies the whole
    velocity, as in Optax and PyTorch. At constant eta the two are one.
    """
    return optax.chain(scale_by_momentum(decay, accumulator_dtype), scale_by_learning_rate(learning_rate))


def ema_momentum(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Gradient descent along a moving average of the gradient.

    v_t = decay v_{t-1} + (1 - decay) g_t
    theta_{t+1} = theta_t - eta v_t

    Heavy-ball momentum with a learning rate of (1 - decay) eta; the step on a steady slope is that of plain
    descent.

    Args:
      learning_rate: eta >= 0, number or schedule.
      decay: beta in [0, 1).
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: the learning rate is negative or not finite, or decay is outside [0, 1).
    """
    return optax.chain(scale_by_ema_momentum(decay, accumulator_dtype), scale_by_learning_rate(learning_rate))


def nesterov(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.9, accumulator_dtype: Dtype | None = None
) -> optax.GradientTransformation:
    """Momentum that takes the gradient where the velocity is about to carry the parameters.

    Published:        v_t = decay v_{t-1} + g(theta_t - eta decay v_{t-1}),  theta_{t+1} = theta_t - eta v_t
    Reparametrised:   phi_{t+1} = phi_t - eta (g(phi_t) + decay v_t)

    A step has one gradient, taken at the parameters that it is given. So those parameters are the look-ahead
    points phi_t = theta_t - eta decay v_{t-1}; both start at the same place and, as v dies out, end at the
    same place. `nesterov_iterate` gives theta. `sgd(eta, decay, nesterov=True)` is the same.

    Args:
      learning_rate: eta >= 0, number or schedule.
      decay: mu in [0, 1).
      accumulator_dtype: of v; None takes float32 or the parameter's own dtype, whichever is wider.

    Raises:
      ValueError: the learning rate is negative or not finite, or decay is outside [0, 1).

    Source: Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)", 1983,
    in the form of Sutskever et al. 2013, equations 3 and 4, and Bengio et al. 2013, section 3.5.
    """
    return optax.chain(scale_by_nesterov(decay, accumulator_dtype), scale_by_learning_rate(learning_rate))


def nesterov_iterate(params: Params, opt_state: optax.OptState) -> Params:
    """The published iterate of Nesterov's method behind parameters that stand at its look-ahead point.

    theta_t = phi_t + eta decay v_{t-1}

    Args:
      params: phi_t, as trained with `nesterov` or `sgd(..., nesterov=True)`.
      opt_state: the optimizer's state that belongs to them.

    Returns:
      theta_t, like params.

    Raises:
      ValueError: the state does not hold exactly one Nesterov link and one learning-rate link.
    """

    def only(kind):
        nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
        found = [node for node in nodes if isinstance(node, kind)]
        if len(found) != 1:
            raise ValueError(f"opt_state must hold exactly one {kind.__name__}, got {len(found)}")
        return found[0]

    rate = only(ScaleByLearningRateState).learning_rate
    return jax.tree.map(lambda p, m: (p + rate * m).astype(p.dtype), params, only(ScaleByNesterovState).lead)

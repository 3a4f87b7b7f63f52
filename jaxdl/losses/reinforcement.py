"""Losses of value functions and policies, one value for each transition.

B is any batch shape, A the number of actions. A transition goes from time t-1 to t: `q_tm1`, `a_tm1`, then `r_t`,
`discount_t` and `q_t` or `v_t`. The discount is gamma, and 0 at the end of an episode, so that nothing is expected
after it: gamma (1 - done). Targets and advantages are constants: no gradient passes through them. Half precision is
computed and returned in float32. An action outside [0, A) gives NaN. `where` is bool [B]; masked losses and their
gradients are 0.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import at_label, check_labels, examplewise, together, widened
from jaxdl.losses.regression import huber
from jaxdl.types import Array

_still = jax.lax.stop_gradient


def td_error(v_tm1: Array, r_t: Array, discount_t: Array, v_t: Array, where: Array | None = None) -> Array:
    """How much better a step went than was expected.

    delta = r_t + discount_t v_t - v_tm1, with the first two held fixed

    Not a loss itself: its square is one, and it is the advantage in an actor-critic. The rest of this module is
    made of it.

    Args:
      v_tm1: value of the state left, float [B].
      r_t: reward, real numbers [B].
      discount_t: gamma (1 - done), real numbers [B].
      v_t: value of the state reached, float [B]: of a target network, say, or the best action's.
      where: bool [B], or None for all.

    Returns:
      float [B], in the rewards' unit; its gradient with respect to v_tm1 is -1, and 0 to all else.

    Raises:
      TypeError: values are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Sutton, "Learning to Predict by the Methods of Temporal Differences", 1988; Sutton and Barto,
    "Reinforcement Learning", 2018, equation 6.5.
    """
    checks.floating(v_t=v_t)
    arrays = together(v_tm1=v_tm1, r_t=r_t, discount_t=discount_t, v_t=v_t)

    def formula(v: Array, r: Array, discount: Array, following: Array) -> Array:
        return _still(r + discount * following) - v

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape)


def _cost(error: Array, huber_delta: float | None) -> Array:
    if huber_delta is None:
        return jnp.square(error)
    return huber(error, jnp.zeros_like(error), delta=huber_delta)


def dqn_loss(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    where: Array | None = None,
    *,
    huber_delta: float | None = None,
    mean_over_actions: bool = False,
) -> Array:
    """Squared error of the value of the action taken against the reward and the best value after it.

    l = delta^2,  delta = r_t + discount_t max_a q_t(a) - q_tm1(a_tm1)

    Args:
      q_tm1: values of all actions in the state left, float [B, A].
      a_tm1: the action taken, int [B].
      r_t: reward, real numbers [B].
      discount_t: gamma (1 - done), real numbers [B].
      q_t: values in the state reached, by the target network, float [B, A].
      where: bool [B], or None for all.
      huber_delta: None for the square; or where `huber` becomes linear (1 in the source: errors clipped).
      mean_over_actions: l / A, the error of all actions where those not taken are their own targets.

    Returns:
      float [B], in the square of the rewards' unit (half of it, up to delta, with huber_delta).

    Raises:
      TypeError: values are not floating point, actions are not integers, or where is not bool.
      ValueError: the shapes do not fit, or huber_delta is not positive.

    Source: Mnih et al., "Human-level control through deep reinforcement learning", 2015, algorithm 1.
    """
    checks.floating(q_t=q_t)
    checks.same_shape(q_tm1=q_tm1, q_t=q_t)
    loss = double_dqn_loss(q_tm1, a_tm1, r_t, discount_t, q_t, q_t, where, huber_delta=huber_delta)
    return loss / q_tm1.shape[-1] if mean_over_actions else loss


def double_dqn_loss(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t_value: Array,
    q_t_selector: Array,
    where: Array | None = None,
    *,
    huber_delta: float | None = None,
) -> Array:
    """`dqn_loss` with the best action chosen by one network and valued by another, which overrates less.

    l = delta^2,  delta = r_t + discount_t q_t_value(argmax_a q_t_selector(a)) - q_tm1(a_tm1)

    Args:
      q_tm1: values of all actions in the state left, float [B, A].
      a_tm1: the action taken, int [B].
      r_t: reward, real numbers [B].
      discount_t: gamma (1 - done), real numbers [B].
      q_t_value: values in the state reached, by the target network, float [B, A].
      q_t_selector: the same by the network that learns, float [B, A]; of equal ones the first is taken.
      where: bool [B], or None for all.
      huber_delta: None for the square; or where `huber` becomes linear.

    Returns:
      float [B], in the square of the rewards' unit (half of it, up to delta, with huber_delta).

    Raises:
      TypeError: values are not floating point, actions are not integers, or where is not bool.
      ValueError: the shapes do not fit, or huber_delta is not positive.

    Source: van Hasselt, Guez and Silver, "Deep Reinforcement Learning with Double Q-learning", 2016, equation 4.
    """
    check_labels(q_tm1=q_tm1, a_tm1=a_tm1)
    checks.floating(q_t_value=q_t_value, q_t_selector=q_t_selector)
    checks.same_shape(q_tm1=q_tm1, q_t_value=q_t_value, q_t_selector=q_t_selector)
    checks.same_shape(a_tm1=a_tm1, r_t=r_t, discount_t=discount_t)
    if huber_delta is not None:
        checks.positive(huber_delta=huber_delta)
    dtype = widened(q_tm1).dtype
    rest = [jnp.asarray(x).astype(dtype) for x in (r_t, discount_t, q_t_value, q_t_selector)]

    def formula(q: Array, a: Array, r: Array, discount: Array, value: Array, selector: Array) -> Array:
        following = at_label(value, jnp.argmax(selector, axis=-1))
        return _cost(td_error(at_label(q, a), r, discount, following), huber_delta)

    return examplewise(
        formula, widened(q_tm1), jnp.asarray(a_tm1), *rest, where=where, shape=jnp.shape(a_tm1)
    )


def policy_gradient(logits: Array, actions: Array, advantages: Array, where: Array | None = None) -> Array:
    """Its gradient is the policy gradient: makes an action likelier by how much better it did than expected.

    l = -A log pi(a),  pi = softmax(logits), with the advantage A held fixed

    Args:
      logits: float [B, A].
      actions: a, drawn from pi, int [B].
      advantages: A, real numbers [B]: the return (REINFORCE), less a baseline, or `td_error`.
      where: bool [B], or None for all.

    Returns:
      float [B], in nats times the advantages' unit. Its value says nothing: watch the return.

    Raises:
      TypeError: logits are not floating point, actions are not integers, or where is not bool.
      ValueError: the shapes do not fit.

    Source: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
    Learning", 1992, section 5.
    """
    check_labels(logits=logits, actions=actions)
    checks.same_shape(actions=actions, advantages=advantages)
    x = widened(logits)

    def formula(x: Array, a: Array, advantage: Array) -> Array:
        return -_still(advantage) * at_label(jax.nn.log_softmax(x), a)

    advantages = jnp.asarray(advantages).astype(x.dtype)
    return examplewise(formula, x, jnp.asarray(actions), advantages, where=where, shape=jnp.shape(actions))


def entropy_bonus(logits: Array, where: Array | None = None) -> Array:
    """The negative entropy of a policy, to be added with a small weight: it keeps the policy from settling early.

    l = sum_a pi(a) log pi(a),  pi = softmax(logits); least, -log A, where all actions are as likely

    Args:
      logits: float [B, A]; -inf rules an action out.
      where: bool [B], or None for all.

    Returns:
      Nats, float [B], in [-log A, 0].

    Raises:
      TypeError: logits are not floating point, or where is not bool.
      ValueError: there is no axis of actions.

    Source: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", 2016, section 4.
    """
    checks.floating(logits=logits)
    if jnp.ndim(logits) < 1:
        raise ValueError("logits must have a last axis of actions, got shape ()")
    x = widened(logits)

    def formula(x: Array) -> Array:
        log_p = jax.nn.log_softmax(x)
        p = jnp.exp(log_p)
        return jnp.sum(p * jnp.where(p > 0, log_p, 0), axis=-1)

    return examplewise(formula, x, where=where, shape=x.shape[:-1])


def actor_critic_loss(
    logits_tm1: Array,
    a_tm1: Array,
    v_tm1: Array,
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    where: Array | None = None,
    *,
    value_weight: float = 0.5,
    entropy_weight: float = 0.0,
) -> Array:
    """Policy gradient with the step's surprise as advantage, plus the critic's squared error.

    l = -delta log pi(a) + value_weight delta^2 + entropy_weight sum_a pi(a) log pi(a), where delta (`td_error`)
    is held fixed in the first part

    Args:
      logits_tm1: of the policy in the state left, float [B, A].
      a_tm1: the action taken, int [B].
      v_tm1: value of the state left, float [B].
      r_t: reward, real numbers [B].
      discount_t: gamma (1 - done), real numbers [B].
      v_t: value of the state reached, float [B].
      where: bool [B], or None for all.
      value_weight: at least 0.
      entropy_weight: of `entropy_bonus`, at least 0.

    Returns:
      float [B].

    Raises:
      TypeError: logits or values are not floating point, actions are not integers, or where is not bool.
      ValueError: the shapes do not fit, or a weight is negative.

    Source: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", 2016, algorithm S3 with one
    step; Sutton and Barto, "Reinforcement Learning", 2018, section 13.5.
    """
    checks.non_negative(value_weight=value_weight, entropy_weight=entropy_weight)
    error = td_error(v_tm1, r_t, discount_t, v_t, where)
    loss = policy_gradient(logits_tm1, a_tm1, error, where) + value_weight * jnp.square(error)
    return loss + entropy_weight * entropy_bonus(logits_tm1, where) if entropy_weight else loss


def ppo_clip(
    log_probabilities: Array,
    old_log_probabilities: Array,
    advantages: Array,
    where: Array | None = None,
    *,
    epsilon: float = 0.2,
) -> Array:
    """Policy gradient that gains nothing from moving an action's probability by more than a share.

    l = -min(r A, clip(r, 1 - epsilon, 1 + epsilon) A),  r = pi(a) / pi_old(a), with A and pi_old held fixed

    Args:
      log_probabilities: log pi(a) of the actions taken, float [...].
      old_log_probabilities: log pi_old(a), when they were taken, float [...].
      advantages: A, real numbers [...].
      where: bool [...], or None for all.
      epsilon: in (0, 1).

    Returns:
      float [...], in the advantages' unit. Overflows where A < 0 and the logarithm of r is above 88.

    Raises:
      TypeError: log probabilities are not floating point, or where is not bool.
      ValueError: the shapes differ, or epsilon is out of range.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017, equation 7.
    """
    checks.floating(old_log_probabilities=old_log_probabilities)
    arrays = together(
        log_probabilities=log_probabilities,
        old_log_probabilities=old_log_probabilities,
        advantages=advantages,
    )
    checks.between(0, 1, epsilon=epsilon)
    checks.positive(epsilon=epsilon)

    def formula(new: Array, old: Array, advantage: Array) -> Array:
        change, advantage = new - _still(old), _still(advantage)
        # Decided on the logarithm: an overflowing ratio would send NaN through the side that is not taken.
        gained = (advantage > 0) & (change > jnp.log1p(epsilon))
        spared = (advantage < 0) & (change < jnp.log1p(-epsilon))
        ratio = jnp.exp(jnp.where(gained | spared | (advantage == 0), 0, change))
        ratio = jnp.where(gained, 1 + epsilon, jnp.where(spared, 1 - epsilon, ratio))
        return -ratio * advantage

    return examplewise(formula, *arrays, where=where, shape=arrays[0].shape)


def ddpg_critic(q_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, where: Array | None = None) -> Array:
    """Squared error of a critic's value of a continuous action.

    l = (r_t + discount_t q_t - q_tm1)^2

    Args:
      q_tm1: Q(s, a) of the action taken, float [B].
      r_t: reward, real numbers [B].
      discount_t: gamma (1 - done), real numbers [B].
      q_t: Q'(s', mu'(s')), by the target critic of the target actor's action, float [B].
      where: bool [B], or None for all.

    Returns:
      float [B], in the square of the rewards' unit.

    Raises:
      TypeError: values are not floating point, or where is not bool.
      ValueError: the shapes differ.

    Source: Lillicrap et al., "Continuous control with deep reinforcement learning", 2016, algorithm 1.
    """
    return jnp.square(td_error(q_tm1, r_t, discount_t, q_t, where))


def ddpg_actor(q_t: Array, where: Array | None = None) -> Array:
    """The negative of the critic's value of the actor's own action.

    l = -Q(s, mu(s)). Differentiate with respect to the actor's parameters only: the critic is an argument.

    Args:
      q_t: Q(s, mu(s)), float [B].
      where: bool [B], or None for all.

    Returns:
      float [B], in the rewards' unit.

    Raises:
      TypeError: values are not floating point, or where is not bool.
      ValueError: where has another shape.

    Source: Lillicrap et al., "Continuous control with deep reinforcement learning", 2016, equation 6.
    """
    checks.floating(q_t=q_t)
    q = widened(q_t)
    return examplewise(jnp.negative, q, where=where, shape=q.shape)

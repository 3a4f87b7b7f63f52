"""Losses of values and policies against float64, PyTorch and worked numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxdl import losses

RNG = np.random.default_rng(9)
B, A = 4, 3
Q, NEXT, CHOICE = (RNG.normal(size=(B, A)) for _ in range(3))
V, NEXT_V, ADVANTAGE = (RNG.normal(size=B) for _ in range(3))
REWARD, DISCOUNT = RNG.normal(size=B), np.array([0.9, 0.99, 0.0, 0.5])
ACTION = np.array([0, 2, 1, 2], np.int32)
OLD = np.log(np.array([0.3, 0.3, 0.5, 0.5]))
NEW = OLD + np.array([0.5, 0.1, -0.6, -0.1])
FAR, FAR_V = np.where(np.arange(B * A).reshape(B, A) % 2, 1e4, -1e4), np.array([1e4, -1e4, 1e4, -1e4])
ROW = np.arange(B)


def surprise(v, r, g, following):
    return r + g * following - v


def huber(e, delta):
    return np.where(abs(e) <= delta, e**2 / 2, delta * (abs(e) - delta / 2))


def log_policy(x, a):
    return scipy.special.log_softmax(x, axis=-1)[ROW, a]


def clipped(new, old, advantage, epsilon=0.2):
    ratio = np.exp(new - old)
    return -np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def negative_entropy(x):
    return -scipy.special.entr(scipy.special.softmax(x, axis=-1)).sum(-1)


# The targets do not move: the transcription is differentiated in the first argument only, and tests below see to
# the rest.
ROWS = {
    "td_error": (
        losses.td_error,
        (V, REWARD, DISCOUNT, NEXT_V),
        surprise,
        {"extremes": [(FAR_V, FAR_V, DISCOUNT, -FAR_V)]},
    ),
    "dqn_loss": (
        losses.dqn_loss,
        (Q, ACTION, REWARD, DISCOUNT, NEXT),
        lambda q, a, r, g, n: surprise(q[ROW, a], r, g, n.max(-1)) ** 2,
        {"extremes": [(FAR, ACTION, FAR_V, DISCOUNT, -FAR), (0 * Q, ACTION, 0 * V, DISCOUNT, 0 * Q)]},
    ),
    "dqn_loss over all actions": (
        functools.partial(losses.dqn_loss, mean_over_actions=True, huber_delta=0.5),
        (Q, ACTION, REWARD, DISCOUNT, NEXT),
        lambda q, a, r, g, n: huber(surprise(q[ROW, a], r, g, n.max(-1)), 0.5) / A,
        {},
    ),
    "double_dqn_loss": (
        losses.double_dqn_loss,
        (Q, ACTION, REWARD, DISCOUNT, NEXT, CHOICE),
        lambda q, a, r, g, n, c: surprise(q[ROW, a], r, g, n[ROW, c.argmax(-1)]) ** 2,
        {"extremes": [(FAR, ACTION, FAR_V, DISCOUNT, -FAR, FAR)]},
    ),
    "policy_gradient": (
        losses.policy_gradient,
        (Q, ACTION, ADVANTAGE),
        lambda x, a, w: -w * log_policy(x, a),
        {
            "torch": lambda f, x, a, w: w * f.cross_entropy(x, a.long(), reduction="none"),
            "extremes": [(FAR, ACTION, FAR_V)],
        },
    ),
    "entropy_bonus": (
        losses.entropy_bonus,
        (Q,),
        negative_entropy,
        {
            "torch": lambda f, x: -_categorical(x).entropy(),
            "extremes": [(FAR,), (0 * Q,), (np.where(Q.max(-1, keepdims=True) == Q, -np.inf, Q),)],
        },
    ),
    "ppo_clip": (
        losses.ppo_clip,
        (NEW, OLD, np.array([1.0, 2.0, -1.0, -2.0])),
        clipped,
        {"extremes": [(FAR_V, 0 * V, np.array([1.0, -1, 1, -1])), (FAR_V, 0 * V, 0 * V), (NEW, OLD, 0 * V)]},
    ),
    "ppo_clip the other way": (
        losses.ppo_clip,
        (NEW, OLD, np.array([-1.0, -2.0, 1.0, 2.0])),
        clipped,
        {},
    ),
    "ddpg_critic": (
        losses.ddpg_critic,
        (V, REWARD, DISCOUNT, NEXT_V),
        lambda *x: surprise(*x) ** 2,
        {"extremes": [(FAR_V, FAR_V, DISCOUNT, -FAR_V)]},
    ),
    "actor_critic_loss": (
        functools.partial(losses.actor_critic_loss, entropy_weight=0.1),
        (Q, ACTION, V, REWARD, DISCOUNT, NEXT_V),
        lambda x, a, *rest: (
            -surprise(*rest) * log_policy(x, a) + 0.5 * surprise(*rest) ** 2 + 0.1 * negative_entropy(x)
        ),
        {"extremes": [(FAR, ACTION, FAR_V, REWARD, DISCOUNT, NEXT_V)]},
    ),
    "ddpg_actor": (losses.ddpg_actor, (V,), np.negative, {"extremes": [(FAR_V,)]}),
}


def _categorical(x):
    import torch

    return torch.distributions.Categorical(logits=x)


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), ROWS.values(), ids=ROWS)
def test_transcription(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, which=[0], **options)


def test_the_critics_part_of_actor_critic(gradients_of):
    def of_values(v, x, a, r, g, n):
        return losses.actor_critic_loss(x, a, v, r, g, n, value_weight=0.3)

    _, gradient = gradients_of(of_values, V, Q, ACTION, REWARD, DISCOUNT, NEXT_V)
    np.testing.assert_allclose(gradient, -0.6 * surprise(V, REWARD, DISCOUNT, NEXT_V), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "inputs", "moves"),
    [
        pytest.param(losses.td_error, (V, REWARD, DISCOUNT, NEXT_V), [0], id="td_error"),
        pytest.param(losses.dqn_loss, (Q, ACTION, REWARD, DISCOUNT, NEXT), [0], id="dqn_loss"),
        pytest.param(
            losses.double_dqn_loss, (Q, ACTION, REWARD, DISCOUNT, NEXT, CHOICE), [0], id="double_dqn_loss"
        ),
        pytest.param(losses.policy_gradient, (Q, ACTION, ADVANTAGE), [0], id="policy_gradient"),
        pytest.param(losses.ppo_clip, (OLD + 0.1, OLD, ADVANTAGE), [0], id="ppo_clip"),
        pytest.param(losses.ddpg_critic, (V, REWARD, DISCOUNT, NEXT_V), [0], id="ddpg_critic"),
        pytest.param(
            losses.actor_critic_loss, (Q, ACTION, V, REWARD, DISCOUNT, NEXT_V), [0, 2], id="actor_critic_loss"
        ),
    ],
)
def test_targets_and_advantages_do_not_move(loss, inputs, moves):
    arrays = [np.float32(x) if x.dtype == np.float64 else x for x in inputs]
    floats = [i for i, x in enumerate(arrays) if x.dtype == np.float32]
    gradients = jax.jit(jax.grad(lambda *x: loss(*x).sum(), argnums=floats))(*arrays)
    assert [i for i, g in zip(floats, gradients) if np.any(g != 0)] == moves


def test_printed_target_and_loss(value_of):
    """004b-7.16b."""
    reward, discount = np.array([1.0, 1.0]), np.array([0.99, 0.0])
    following = np.array([[0.5, 1.2]] * 2)
    target = value_of(losses.td_error, np.zeros(2), reward, discount, following.max(-1))
    np.testing.assert_allclose(target, [2.188, 1.0], rtol=1e-6)
    q, action = np.array([[0.3, 0.8]] * 2), np.array([0, 0])
    loss = value_of(losses.dqn_loss, q, action, reward, discount, following, mean_over_actions=True)
    np.testing.assert_allclose(loss[0], 1.782272, rtol=1e-6)
    # The listing: the error of all outputs, against a copy whose taken entry is the target.
    copy = np.array([[2.188, 0.8]])
    np.testing.assert_allclose(loss[0], ((np.array([[0.3, 0.8]]) - copy) ** 2).mean(), rtol=1e-6)


def test_gradient_of_the_policy_is_exact_for_a_bandit():
    """Summed over actions in their shares, it is the derivative of the expected reward."""
    logits, rewards = np.float32([0.3, -0.5, 1.0]), np.float32([1.0, 2.0, -1.0])

    def loss(x):
        shares = jax.lax.stop_gradient(jax.nn.softmax(x))
        each = losses.policy_gradient(jnp.tile(x[None], (3, 1)), jnp.arange(3), rewards)
        return jnp.sum(shares * each)

    pi = scipy.special.softmax(np.float64(logits))
    expected = -pi * (rewards - pi @ rewards)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (losses.dqn_loss, (Q, ACTION, REWARD, DISCOUNT, NEXT)),
        (losses.policy_gradient, (Q, ACTION, ADVANTAGE)),
    ],
)
def test_an_impossible_action_gives_nan(gradients_of, loss, inputs):
    actions = np.array([0, A, 1, -1], np.int32)
    value, gradient = gradients_of(loss, inputs[0], actions, *inputs[2:])
    assert np.isnan(value).tolist() == [False, True, False, True]
    assert np.isnan(gradient).any(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.td_error(V, REWARD, DISCOUNT, NEXT), ValueError, "v_t must have the shape of v_tm1"),
        (lambda: losses.dqn_loss(Q, Q, REWARD, DISCOUNT, NEXT), TypeError, "a_tm1 must be integers"),
        (
            lambda: losses.dqn_loss(Q, ACTION, REWARD, DISCOUNT, NEXT[:, :2]),
            ValueError,
            "q_t must have the shape",
        ),
        (
            lambda: losses.dqn_loss(Q, ACTION, REWARD[:1], DISCOUNT, NEXT),
            ValueError,
            "r_t must have the shape",
        ),
        (
            lambda: losses.dqn_loss(Q, ACTION, REWARD, DISCOUNT, NEXT, huber_delta=0),
            ValueError,
            "huber_delta",
        ),
        (
            lambda: losses.policy_gradient(Q, ACTION, ADVANTAGE[:2]),
            ValueError,
            "advantages must have the shape",
        ),
        (lambda: losses.ppo_clip(NEW, OLD, ADVANTAGE, epsilon=1.5), ValueError, "epsilon must be between"),
        (
            lambda: losses.ppo_clip(NEW, ACTION, ADVANTAGE),
            TypeError,
            "old_log_probabilities must be floating",
        ),
        (lambda: losses.entropy_bonus(ACTION), TypeError, "logits must be floating"),
        (
            lambda: losses.actor_critic_loss(Q, ACTION, V, REWARD, DISCOUNT, NEXT_V, value_weight=-1),
            ValueError,
            "value_weight",
        ),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()

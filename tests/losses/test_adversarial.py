"""Adversarial losses and penalties against float64, PyTorch and worked numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxdl import losses

RNG = np.random.default_rng(7)
B, D, K = 4, 3, 3
REAL, FAKE = 2 * RNG.normal(size=B), 2 * RNG.normal(size=B)
X, Y = RNG.normal(size=(B, 2, D)), RNG.normal(size=(B, 2, D))
CLASS_LOGITS, LABELS = RNG.normal(size=(B, K)), np.array([0, 2, 1, 2], np.int32)
FAR, ZEROS = np.array([1e4, -1e4, 1e4, -1e4]), np.zeros(B)


def softplus(x):
    return np.log1p(np.exp(x))


def relu(x):
    return np.maximum(x, 0)


def class_nats(x, labels):
    return -scipy.special.log_softmax(x, axis=-1)[np.arange(B), labels]


BOTH = {
    "minimax_discriminator": (
        losses.minimax_discriminator,
        lambda r: softplus(-r),
        softplus,
        lambda f, r, g: (
            f.binary_cross_entropy_with_logits(r, r * 0 + 1, reduction="none")
            + f.binary_cross_entropy_with_logits(g, g * 0, reduction="none")
        ),
    ),
    "least_squares_discriminator": (
        losses.least_squares_discriminator,
        lambda r: (r - 1) ** 2,
        np.square,
        lambda f, r, g: f.mse_loss(r, r * 0 + 1, reduction="none") + f.mse_loss(g, g * 0, reduction="none"),
    ),
    "wasserstein_critic": (losses.wasserstein_critic, np.negative, lambda f: f, lambda f, r, g: g - r),
    "hinge_discriminator": (
        losses.hinge_discriminator,
        lambda r: relu(1 - r),
        lambda f: relu(1 + f),
        lambda f, r, g: f.relu(1 - r) + f.relu(1 + g),
    ),
}


@pytest.mark.parametrize(("loss", "on_real", "on_fake", "torch"), BOTH.values(), ids=BOTH)
def test_discriminator(agrees, loss, on_real, on_fake, torch):
    agrees(
        loss,
        (REAL, FAKE),
        lambda r, f: on_real(r) + on_fake(f),
        torch=torch,
        extremes=[(FAR, -FAR), (FAR, FAR), (ZEROS, ZEROS)],
    )


@pytest.mark.parametrize(("loss", "on_real", "on_fake", "torch"), BOTH.values(), ids=BOTH)
def test_three_ways_to_combine(value_of, loss, on_real, on_fake, torch):
    real, fake = np.float32(REAL[:3]), np.float32(FAKE)
    half = (on_real(np.float64(np.float32(REAL))) + on_fake(np.float64(fake))) / 2
    np.testing.assert_allclose(value_of(loss, REAL, FAKE, combine="mean"), half, rtol=1e-6, atol=1e-7)
    where = np.arange(7) % 3 > 0
    hidden = np.where(where[:3], real, np.nan), np.where(where[3:], fake, np.nan)
    mixed = value_of(loss, *hidden, where=where, combine="mixed")
    expected = np.concatenate([on_real(np.float64(real)), on_fake(np.float64(fake))])
    np.testing.assert_allclose(mixed, np.where(where, expected, 0), rtol=1e-6)
    patches = jax.eval_shape(
        lambda r, f: loss(r, f, combine="mixed"), jnp.ones((2, 3, 1)), jnp.ones((1, 3, 1))
    )
    assert patches.shape == (3, 3, 1)
    with pytest.raises(ValueError, match="combine must be one of 'sum', 'mean', 'mixed', got 'both'"):
        loss(real, real, combine="both")
    with pytest.raises(ValueError, match=r"must have the shape of real_\w+, \(3,\), got \(4,\)"):
        loss(real, fake)
    with pytest.raises(ValueError, match="may differ in the first axis only"):
        loss(np.ones((2, 3, 1)), np.ones((1, 2, 1)), combine="mixed")
    with pytest.raises(TypeError, match="must be floating point"):
        loss(real, np.ones(3, int))


GENERATORS = {
    "minimax_generator": (
        losses.minimax_generator,
        lambda f: -softplus(f),
        lambda f, x: -f.binary_cross_entropy_with_logits(x, x * 0, reduction="none"),
    ),
    "non_saturating_generator": (
        losses.non_saturating_generator,
        lambda f: softplus(-f),
        lambda f, x: f.binary_cross_entropy_with_logits(x, x * 0 + 1, reduction="none"),
    ),
    "least_squares_generator": (
        losses.least_squares_generator,
        lambda f: (f - 1) ** 2,
        lambda f, x: f.mse_loss(x, x * 0 + 1, reduction="none"),
    ),
    "wasserstein_generator": (losses.wasserstein_generator, np.negative, None),
    "hinge_generator": (losses.hinge_generator, np.negative, None),
}


@pytest.mark.parametrize(("loss", "equation", "torch"), GENERATORS.values(), ids=GENERATORS)
def test_generator(agrees, loss, equation, torch):
    agrees(loss, (FAKE,), equation, torch=torch, extremes=[(FAR,), (ZEROS,)])


def logit(p):
    return np.float32(scipy.special.logit(p))


def test_printed_values_of_the_game(value_of):
    """002-D12, 000-G18, 002-D12w, 004b-lsgan."""
    real, fake = logit([0.9, 0.8]), logit([0.1, 0.3])
    even = np.zeros(2)
    for loss, inputs, expected in [
        (losses.minimax_discriminator, (real, fake), 0.3952698),
        (losses.minimax_generator, (fake,), -0.2310177),
        (losses.non_saturating_generator, (fake,), 1.7532789),
        (losses.minimax_discriminator, (even, even), 1.386294361),
        (losses.non_saturating_generator, (even,), 0.693147181),
        (losses.wasserstein_critic, (np.array([2.0, 1]), np.array([-1, 0.5])), -1.75),  # 1.75 is the distance
        (losses.least_squares_generator, (np.array([0.9, 0.4]),), 0.185),
    ]:
        np.testing.assert_allclose(value_of(loss, *inputs).mean(), expected, atol=2e-7)


def test_the_best_discriminator_is_the_share_of_the_data():
    """000-G18: D* = p / (p + q) on a finite space, where the gradient of the expected loss vanishes."""
    p, q = np.float32([0.5, 0.3, 0.2]), np.float32([0.1, 0.3, 0.6])

    def expected_loss(x):
        on_data = losses.minimax_discriminator(x, jnp.full(3, -1e4))
        on_samples = losses.minimax_discriminator(jnp.full(3, 1e4), x)
        return jnp.sum(p * on_data + q * on_samples)

    slope = jax.jit(jax.grad(expected_loss))(logit(p / (p + q)))
    np.testing.assert_allclose(slope, np.zeros(3), atol=1e-7)


def absolute(x, y):
    return abs(x - y).mean((1, 2))


CONDITIONS = {
    "cycle_consistency": (
        losses.cycle_consistency,
        (X, Y),
        absolute,
        {
            "torch": lambda f, x, y: f.l1_loss(x, y, reduction="none").mean((1, 2)),
            "extremes": [(0 * X, 0 * Y)],
        },
    ),
    "identity_mapping": (
        losses.identity_mapping,
        (X, Y),
        absolute,
        {
            "torch": lambda f, x, y: f.l1_loss(x, y, reduction="none").mean((1, 2)),
            "extremes": [(1e4 * X, Y)],
        },
    ),
    "adversarial_reconstruction": (
        functools.partial(losses.adversarial_reconstruction, weight=0.1),
        (X, Y, FAKE),
        lambda x, y, f: ((x - y) ** 2).mean((1, 2)) + 0.1 * softplus(-f),
        {
            "torch": lambda f, x, y, d: (
                f.mse_loss(x, y, reduction="none").mean((1, 2))
                + 0.1 * f.binary_cross_entropy_with_logits(d, d * 0 + 1, reduction="none")
            ),
            "extremes": [(1e4 * X, Y, FAR)],
        },
    ),
    "auxiliary_classifier": (
        functools.partial(losses.auxiliary_classifier, class_weight=0.5),
        (REAL, CLASS_LOGITS, np.array([1, 0, 1, 1], np.int32), LABELS),
        lambda x, c, s, labels: softplus(np.where(s == 1, -x, x)) + 0.5 * class_nats(c, labels),
        {
            "torch": lambda f, x, c, s, labels: (
                f.binary_cross_entropy_with_logits(x, s.double(), reduction="none")
                + 0.5 * f.cross_entropy(c, labels.long(), reduction="none")
            ),
            "extremes": [(FAR, 1e4 * CLASS_LOGITS, np.array([1, 0, 0, 1]), LABELS)],
        },
    ),
    "mutual_information": (
        losses.mutual_information,
        (CLASS_LOGITS, LABELS, X[:, 0], Y[:, 0], X[:, 1]),
        lambda x, labels, m, c, s: (
            class_nats(x, labels) - scipy.stats.norm.logpdf(c, m, np.exp(s / 2)).sum(-1)
        ),
        {
            "torch": lambda f, x, labels, m, c, s: (
                f.cross_entropy(x, labels.long(), reduction="none")
                + f.gaussian_nll_loss(m, c, s.exp(), full=True, reduction="none").sum(-1)
            ),
            "extremes": [(1e4 * CLASS_LOGITS, LABELS, 0 * X[:, 0], Y[:, 0], 0 * X[:, 1])],
        },
    ),
    "cycle_gan_generator": (
        lambda a, b, rx, ry, x, y, ix, iy, where=None: losses.cycle_gan_generator(
            (a, b), (rx, ry), (x, y), (ix, iy), where
        ),
        (REAL, FAKE, X, Y, Y[::-1], X[::-1], X + 0.1, Y - 0.2),
        lambda a, b, rx, ry, x, y, ix, iy: (
            (a - 1) ** 2
            + (b - 1) ** 2
            + 10 * (absolute(rx, x) + absolute(ry, y))
            + 5 * (absolute(ix, x) + absolute(iy, y))
        ),
        {"which": [0, 1, 2], "rtol": 2e-5},
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), CONDITIONS.values(), ids=CONDITIONS)
def test_condition(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_patches_are_averaged_and_identity_may_be_left_out(value_of):
    patches = np.float32(np.stack([REAL, FAKE], 1)[..., None])
    x, y = np.float32(X), np.float32(Y)
    got = value_of(lambda p, x, y: losses.cycle_gan_generator((p, p), (x, y), (x, y)), patches, x, y)
    np.testing.assert_allclose(got, 2 * ((np.stack([REAL, FAKE], 1) - 1) ** 2).mean(1), rtol=1e-5)
    part = value_of(losses.adversarial_reconstruction, x, x, patches, weight=1.0)
    np.testing.assert_allclose(part, softplus(-np.stack([REAL, FAKE], 1)).mean(1), rtol=1e-5)


# Penalties on derivatives: the function is sum_h v_h tanh(w_h . x).

W, V = np.float32(RNG.normal(size=(2 * D, 5))), np.float32(RNG.normal(size=5))


def critic(x):
    return critic_code(x) @ V.astype(x.dtype)


def critic_code(x):
    return jnp.tanh(x.reshape(len(x), -1) @ W.astype(x.dtype))


def slopes(x):
    """By hand: the gradient of the critic for each example."""
    hidden = np.tanh(x.reshape(len(x), -1) @ np.float64(W))
    return ((1 - hidden**2) * V) @ np.float64(W).T


SHARE = np.float64(jax.random.uniform(jax.random.key(3), (B, 1, 1)))


def penalized(real, fake):
    return (np.linalg.norm(slopes(SHARE * real + (1 - SHARE) * fake), axis=1) - 1) ** 2


def jacobian_size(x):
    hidden = np.tanh(x.reshape(len(x), -1) @ np.float64(W))
    return np.array([((np.float64(W) * (1 - h**2)) ** 2).sum() for h in hidden])


HIDDEN, KERNEL = RNG.uniform(0.05, 0.95, (B, 5)), np.round(16 * RNG.normal(size=(D, 5))) / 16

PENALTIES = {
    "gradient_penalty": (
        lambda real, fake, where=None: losses.gradient_penalty(critic, real, fake, jax.random.key(3), where),
        (X, Y),
        penalized,
        {"half": False, "extremes": [(1e4 * X, 1e4 * X), (0 * X, 0 * X)]},
    ),
    "r1_penalty": (
        functools.partial(losses.r1_penalty, critic),
        (X,),
        lambda x: 0.5 * (slopes(x) ** 2).sum(-1),
        {"half": False, "extremes": [(1e4 * X,), (0 * X,)]},
    ),
    "contractive_penalty": (
        functools.partial(losses.contractive_penalty, critic_code),
        (X,),
        jacobian_size,
        {"half": False, "extremes": [(1e4 * X,), (0 * X,)]},
    ),
    "sigmoid_contractive_penalty": (
        lambda h, where=None: losses.sigmoid_contractive_penalty(h, np.asarray(KERNEL, h.dtype), where),
        (HIDDEN,),
        lambda h: ((h * (1 - h)) ** 2 * (KERNEL**2).sum(0)).sum(-1),
        {"extremes": [(0 * HIDDEN,), (0 * HIDDEN + 1,)]},
    ),
    "relu_contractive_penalty": (
        lambda h, where=None: losses.relu_contractive_penalty(h, np.asarray(KERNEL, h.dtype), where),
        (HIDDEN - 0.5,),
        lambda h: ((h > 0) * (KERNEL**2).sum(0)).sum(-1),
        {"extremes": [(0 * HIDDEN,)]},
    ),
}


@pytest.mark.parametrize(("loss", "inputs", "equation", "options"), PENALTIES.values(), ids=PENALTIES)
def test_penalty(agrees, loss, inputs, equation, options):
    agrees(loss, inputs, equation, **options)


def test_penalty_of_a_flat_critic_has_a_finite_gradient():
    def penalty(w):
        return losses.gradient_penalty(
            lambda x: x.reshape(B, -1) @ w, np.float32(X), np.float32(Y), jax.random.key(0)
        ).sum()

    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.zeros(2 * D))
    assert value == B
    assert (gradient == 0).all()


def test_gradient_of_the_penalty_in_the_critics_weights_matches_torch():
    torch = pytest.importorskip("torch")

    def penalty(w):
        return losses.r1_penalty(lambda x: jnp.tanh(x.reshape(B, -1) @ w) @ V, np.float32(X)).sum()

    w = torch.tensor(W, requires_grad=True)
    x = torch.tensor(np.float32(X), requires_grad=True)
    out = torch.tanh(x.reshape(B, -1) @ w) @ torch.tensor(V)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (0.5 * slope.square().sum()).backward()
    np.testing.assert_allclose(jax.jit(jax.grad(penalty))(W), w.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_penalties_match_torchs_derivatives(equals_torch):
    """Their values and gradients: the derivative of a derivative, by PyTorch's own."""
    import torch

    w, v = torch.tensor(np.float64(W)), torch.tensor(np.float64(V))

    def encode(x):
        return torch.tanh(x.flatten(1) @ w)

    def slope(x):
        (gradient,) = torch.autograd.grad((encode(x) @ v).sum(), x, create_graph=True)
        return gradient.flatten(1)

    def jacobian(x):
        each = [
            torch.autograd.functional.jacobian(lambda a: encode(a[None])[0], a, create_graph=True) for a in x
        ]
        return torch.stack([j.square().sum() for j in each])

    key = jax.random.key(3)
    share = torch.tensor(SHARE)
    equals_torch(
        lambda real, fake: losses.gradient_penalty(critic, real, fake, key),
        lambda real, fake: (slope(share * real + (1 - share) * fake).norm(dim=1) - 1) ** 2,
        *(X, Y),
        which=(0, 1),
    )
    equals_torch(functools.partial(losses.contractive_penalty, critic_code), jacobian, X)


@pytest.mark.parametrize(
    ("kernel", "bias", "x", "activation", "expected"),
    [
        ([[0.5, 0.3], [-0.2, 0.8], [0.1, -0.6]], [0, 0], [1, 0.5, -1], "sigmoid", 0.0488015),  # 001-G19
        ([[0.5, 1], [-0.5, 0]], [0, 0], [1, 2], "sigmoid", 0.0662696),  # 002-D13e
        ([[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]], [0.05, -0.1], [1, 0.5, -1], "sigmoid", 0.04354277),
        (
            [[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]],
            [0.05, -0.1],
            [1, 0.5, -1],
            "relu",
            0.35,
        ),  # 004b-contractive
    ],
)
def test_printed_contractive_penalties(kernel, bias, x, activation, expected):
    kernel, x = np.float32(kernel), np.float32([x])
    encode = getattr(jax.nn, activation)
    closed = {"sigmoid": losses.sigmoid_contractive_penalty, "relu": losses.relu_contractive_penalty}[
        activation
    ]

    @jax.jit
    def both(x):
        hidden = encode(x @ kernel + np.float32(bias)[None])
        return losses.contractive_penalty(lambda x: encode(x @ kernel + np.float32(bias)[None]), x), closed(
            hidden, kernel
        )

    np.testing.assert_allclose(both(x), np.full((2, 1), expected), rtol=2e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.cycle_consistency(X, Y[:2]),
            ValueError,
            "images must have the shape of reconstructions",
        ),
        (
            lambda: losses.identity_mapping(REAL, REAL),
            ValueError,
            "outputs must have a batch axis and others",
        ),
        (
            lambda: losses.auxiliary_classifier(REAL, CLASS_LOGITS, REAL, REAL),
            TypeError,
            "labels must be integers",
        ),
        (lambda: losses.adversarial_reconstruction(X, Y, FAKE[:2]), ValueError, "agree in the first axis"),
        (
            lambda: losses.adversarial_reconstruction(X, Y, FAKE, weight=-1),
            ValueError,
            "weight must be finite",
        ),
        (
            lambda: losses.cycle_gan_generator((REAL, FAKE), (X, Y), (X, Y), cycle_weight=-1),
            ValueError,
            "cycle_w",
        ),
        (lambda: losses.gradient_penalty(critic, X, Y[:2], jax.random.key(0)), ValueError, "fake must have"),
        (lambda: losses.r1_penalty(critic, REAL), ValueError, "real must have a batch axis and others"),
        (lambda: losses.contractive_penalty(critic, LABELS), TypeError, "inputs must be floating"),
        (lambda: losses.sigmoid_contractive_penalty(HIDDEN, KERNEL.T), ValueError, "kernel must have shape"),
        (lambda: losses.mutual_information(CLASS_LOGITS, LABELS, X, Y), ValueError, "means must have rank 2"),
        (lambda: losses.non_saturating_generator(LABELS), TypeError, "fake_logits must be floating"),
    ],
)
def test_wrong_shapes_dtypes_and_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Schedules against worked values, Optax and PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

COUNTS = np.arange(130)


@pytest.mark.parametrize(
    ("schedule", "counts", "want"),
    [
        pytest.param(optim.step_decay(0.1, 10, 0.5), [0, 9, 10, 25], [0.1, 0.1, 0.05, 0.025], id="step"),
        pytest.param(
            optim.exponential_decay(0.1, 1, math.exp(-0.05)),
            [0, 10, 20],
            [0.1, 0.060653, 0.036788],
            id="exponential",
        ),
        pytest.param(
            optim.polynomial_decay(0.1, 0.0, 2, 100), [0, 50, 100], [0.1, 0.025, 0], id="polynomial"
        ),
    ],
)
def test_golden_004a_6(schedule, counts, want):
    np.testing.assert_allclose([schedule(t) for t in counts], want, atol=5e-7)


SCHEDULES = [
    pytest.param(optim.constant(0.3), optax.constant_schedule(0.3), id="constant"),
    pytest.param(
        optim.step_decay(0.3, 30, 0.2), optax.exponential_decay(0.3, 30, 0.2, staircase=True), id="step_decay"
    ),
    pytest.param(
        optim.piecewise_constant(0.3, {50: 0.1, 20: 0.5, 100: 2.0}),
        optax.piecewise_constant_schedule(0.3, {50: 0.1, 20: 0.5, 100: 2.0}),
        id="piecewise_constant",
    ),
    pytest.param(
        optim.piecewise_constant(0.3), optax.piecewise_constant_schedule(0.3), id="piecewise_constant-none"
    ),
    pytest.param(
        optim.exponential_decay(0.3, 20, 0.5, 15),
        optax.exponential_decay(0.3, 20, 0.5, 15),
        id="exponential_decay",
    ),
    pytest.param(
        optim.exponential_decay(0.3, 20, 0.5, 5, True, 0.05),
        optax.exponential_decay(0.3, 20, 0.5, 5, True, 0.05),
        id="exponential_decay-staircase-floor",
    ),
    pytest.param(
        optim.exponential_decay(0.3, 20, 1.5, end_value=2.0),
        optax.exponential_decay(0.3, 20, 1.5, end_value=2.0),
        id="exponential_decay-growth-ceiling",
    ),
    pytest.param(
        optim.polynomial_decay(0.3, 0.1, 3, 60, 20),
        optax.polynomial_schedule(0.3, 0.1, 3, 60, 20),
        id="polynomial_decay",
    ),
    pytest.param(
        optim.linear_warmup(0.1, 0.5, 40), optax.warmup_constant_schedule(0.1, 0.5, 40), id="linear_warmup"
    ),
    pytest.param(optim.cosine_decay(0.3, 100), optax.cosine_decay_schedule(0.3, 100), id="cosine_decay"),
    pytest.param(
        optim.cosine_decay(0.3, 100, 0.1, 1.7),
        optax.cosine_decay_schedule(0.3, 100, 0.1, 1.7),
        id="cosine_decay-all",
    ),
    pytest.param(
        optim.warmup_cosine(0.0, 0.3, 20, 110, 0.01, 1.5),
        optax.warmup_cosine_decay_schedule(0.0, 0.3, 20, 110, 0.01, 1.5),
        id="warmup_cosine",
    ),
    pytest.param(
        optim.warmup_cosine(0.2, 0.3, 0, 50),
        optax.cosine_decay_schedule(0.3, 50),
        id="warmup_cosine-no-warmup",
    ),
]


@pytest.mark.parametrize(("ours", "library"), SCHEDULES)
def test_matches_optax_at_every_step(ours, library):
    want = [float(library(t)) for t in COUNTS]
    np.testing.assert_allclose([float(ours(t)) for t in COUNTS], want, rtol=2e-6, atol=1e-7)
    traced = jax.jit(jax.vmap(ours))(jnp.asarray(COUNTS))
    assert traced.dtype == jnp.float32
    np.testing.assert_allclose(traced, want, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(ours(jnp.asarray(COUNTS)), want, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(optim.step_decay(0.3, 30, 0.2), lambda s, o: s.StepLR(o, 30, 0.2), id="step_decay"),
        pytest.param(
            optim.exponential_decay(0.3, 1, 0.97),
            lambda s, o: s.ExponentialLR(o, 0.97),
            id="exponential_decay",
        ),
        pytest.param(
            optim.polynomial_decay(0.3, 0.0, 2, 100),
            lambda s, o: s.PolynomialLR(o, 100, 2),
            id="polynomial_decay",
        ),
        pytest.param(
            optim.linear_warmup(0.03, 0.3, 40), lambda s, o: s.LinearLR(o, 0.1, 1.0, 40), id="linear_warmup"
        ),
        pytest.param(
            optim.piecewise_constant(0.3, {20: 0.5, 50: 0.5}),
            lambda s, o: s.MultiStepLR(o, [20, 50], 0.5),
            id="piecewise_constant",
        ),
    ],
)
def test_matches_torch_at_every_step(ours, theirs):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    scheduler = theirs(torch.optim.lr_scheduler, optimizer)
    want = []
    for _ in range(100):
        want.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(ours(jnp.arange(100)), want, rtol=1e-5, atol=1e-7)


def test_settings_may_be_traced():
    rates = jnp.array([0.1, 0.2])

    def values(rate):
        schedules = [
            optim.constant(rate),
            optim.step_decay(rate, 2, 0.5),
            optim.piecewise_constant(rate, {2: 0.5}),
            optim.exponential_decay(rate, 2, rate, end_value=0.01),
            optim.polynomial_decay(rate, 0.0, 1.0, 4),
            optim.linear_warmup(0.0, rate, 4),
            optim.cosine_decay(rate, 4),
            optim.warmup_cosine(0.0, rate, 1, 4),
        ]
        return jnp.stack([schedule(3) for schedule in schedules])

    rows = jax.vmap(values)(rates)
    for rate, got in zip(rates, rows):
        np.testing.assert_allclose(got, values(float(rate)), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.constant(-1), "value must be finite and at least 0, got -1"),
        (lambda: optim.step_decay(0.1, 0, 0.5), "transition_steps must be at least 1, got 0"),
        (lambda: optim.step_decay(0.1, 10, 0.0), "decay_rate must be positive and finite, got 0.0"),
        (lambda: optim.piecewise_constant(0.1, {-1: 0.5}), "boundary must be at least 0, got -1"),
        (
            lambda: optim.piecewise_constant(0.1, {5: -0.5}),
            "scale at 5 must be finite and at least 0, got -0.5",
        ),
        (lambda: optim.exponential_decay(0.1, -5, 0.5), "transition_steps must be at least 1, got -5"),
        (lambda: optim.polynomial_decay(0.1, 0.0, 0, 5), "power must be positive and finite, got 0"),
        (
            lambda: optim.linear_warmup(0.0, float("nan"), 5),
            "peak_value must be finite and at least 0, got nan",
        ),
        (lambda: optim.cosine_decay(0.1, 0), "decay_steps must be at least 1, got 0"),
        (
            lambda: optim.warmup_cosine(0, 0.1, 10, 10),
            "decay_steps - warmup_steps must be positive and finite, got 0",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""Schedules against worked values, Optax and PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim, viz

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
    pytest.param(
        optim.cosine_restarts(0.3, 20, 2, 0.01),
        optax.sgdr_schedule(
            [
                {"init_value": 0.3, "peak_value": 0.3, "warmup_steps": 0, "decay_steps": n, "end_value": 0.01}
                for n in (20, 40, 80)
            ]
        ),
        id="cosine_restarts",
    ),
    pytest.param(optim.one_cycle(100, 0.3), optax.cosine_onecycle_schedule(100, 0.3), id="one_cycle"),
    pytest.param(
        optim.one_cycle(117, 0.3, 0.45, 10.0, 100.0),
        optax.cosine_onecycle_schedule(117, 0.3, 0.45, 10.0, 100.0),
        id="one_cycle-all",
    ),
]


@pytest.mark.parametrize(("ours", "library"), SCHEDULES)
def test_matches_optax_at_every_step(ours, library):
    traced, want = jax.jit(jax.vmap(lambda t: (ours(t), library(t))))(jnp.asarray(COUNTS))
    assert traced.dtype == jnp.float32
    np.testing.assert_allclose([float(ours(t)) for t in COUNTS[::13]], want[::13], rtol=2e-6, atol=1e-7)
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
        pytest.param(
            optim.cosine_restarts(0.3, 15, end_value=0.01),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 15, 1, 0.01),
            id="cosine_restarts-equal",
        ),
        pytest.param(
            optim.cosine_restarts(0.3, 7, 3),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, 3),
            id="cosine_restarts",
        ),
        pytest.param(
            optim.cyclic(0.1, 0.5, 9),
            lambda s, o: s.CyclicLR(o, 0.1, 0.5, 9, cycle_momentum=False),
            id="cyclic-triangular",
        ),
        pytest.param(
            optim.cyclic(0.1, 0.5, 9, 4, "triangular2"),
            lambda s, o: s.CyclicLR(o, 0.1, 0.5, 9, 4, "triangular2", cycle_momentum=False),
            id="cyclic-triangular2",
        ),
        pytest.param(
            optim.cyclic(0.1, 0.5, 5, 11, "exp_range", 0.99),
            lambda s, o: s.CyclicLR(o, 0.1, 0.5, 5, 11, "exp_range", 0.99, cycle_momentum=False),
            id="cyclic-exp_range",
        ),
        pytest.param(
            optim.one_cycle(99, 0.3, 0.25, 20.0, 50.0),  # its peak is at 24; PyTorch's at pct_start 100 - 1
            lambda s, o: s.OneCycleLR(
                o, 0.3, 100, pct_start=0.25, div_factor=20.0, final_div_factor=50.0, cycle_momentum=False
            ),
            id="one_cycle",
        ),
        pytest.param(optim.constant(0.3), lambda s, o: s.ConstantLR(o, 1.0), id="constant"),
        pytest.param(optim.cosine_decay(0.3, 99), lambda s, o: s.CosineAnnealingLR(o, 99), id="cosine_decay"),
        pytest.param(
            optim.cosine_decay(0.3, 99, 0.1),
            lambda s, o: s.CosineAnnealingLR(o, 99, 0.03),
            id="cosine_decay-alpha",
        ),
        pytest.param(
            optim.warmup_cosine(0.03, 0.3, 20, 99, 0.01),
            lambda s, o: s.SequentialLR(
                o, [s.LinearLR(o, 0.1, 1.0, 20), s.CosineAnnealingLR(o, 79, 0.01)], [20]
            ),
            id="warmup_cosine",
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


def test_time_based_decay_is_that_of_torch_asgd():
    """Averaged SGD has this schedule inside: eta_t = lr / (1 + lambd lr t)^alpha."""
    torch = pytest.importorskip("torch")
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.ASGD([parameter], 0.3, lambd=0.07 / 0.3, alpha=1.0)
    parameter.grad = torch.ones(1)
    want = []
    for _ in range(100):
        optimizer.step()
        want.append(float(optimizer.state[parameter]["eta"]))
    np.testing.assert_allclose(
        optim.time_based_decay(0.3, 0.07)(jnp.arange(100)), [0.3, *want[:-1]], rtol=1e-6
    )


def test_noam_by_hand():
    """64 features, 25 steps of warm-up: 1/8 of min(1 / sqrt(s), s / 125), at squares s."""
    steps = [1, 4, 5, 10, 16, 25, 100, 400, 10_000]
    want = [0.001, 0.004, 0.005, 0.01, 0.016, 0.025, 0.0125, 0.00625, 0.00125]
    schedule = optim.noam(64, 25)
    np.testing.assert_allclose([schedule(s - 1) for s in steps], want, rtol=1e-6)
    np.testing.assert_allclose([optim.noam(64, 25, 3.0)(s - 1) for s in steps], 3 * np.array(want), rtol=1e-6)


def test_schedules_that_share_an_idea_agree():
    pairs = [
        (optim.step_decay(0.3, 30, 0.5), optim.exponential_decay(0.3, 30, 0.5, staircase=True)),
        (
            optim.step_decay(0.3, 30, 0.5),
            optim.piecewise_constant(0.3, dict.fromkeys((30, 60, 90, 120), 0.5)),
        ),
        (optim.linear_warmup(0.1, 0.5, 40), optim.polynomial_decay(0.1, 0.5, 1, 40)),
        (optim.cosine_decay(0.3, 100), optim.warmup_cosine(0.0, 0.3, 0, 100)),
        (optim.constant(0.3), optim.time_based_decay(0.3, 0.0)),
    ]
    counts = jnp.asarray(COUNTS)
    for one, other in pairs:
        np.testing.assert_allclose(one(counts), other(counts), rtol=2e-6, atol=1e-7)
    until = counts[:100]
    one, other = optim.cosine_restarts(0.3, 100), optim.cosine_decay(0.3, 100)
    np.testing.assert_allclose(one(until), other(until), rtol=2e-6, atol=1e-7)


def test_noam_peaks_where_the_paper_says():
    schedule = optim.noam(512, 4000)
    values = schedule(jnp.arange(10_000))
    assert int(jnp.argmax(values)) == 3999  # the 4000th step
    np.testing.assert_allclose(values[3999], 1 / math.sqrt(512 * 4000), rtol=1e-6)
    np.testing.assert_allclose(values[0], 512**-0.5 * 4000**-1.5, rtol=1e-6)


@pytest.mark.slow
def test_all_are_drawn_in_one_figure():
    pytest.importorskip("matplotlib")
    kinds = {
        "falling": {
            "constant": optim.constant(0.3),
            "step decay": optim.step_decay(0.3, 30, 0.5),
            "piecewise constant": optim.piecewise_constant(0.3, {20: 0.5, 50: 0.2, 100: 2.0}),
            "exponential decay": optim.exponential_decay(0.3, 20, 0.5),
            "time-based decay": optim.time_based_decay(0.3, 0.05),
            "polynomial decay": optim.polynomial_decay(0.3, 0.0, 2, 120),
            "cosine decay": optim.cosine_decay(0.3, 120),
        },
        "warming up": {
            "linear warm-up": optim.linear_warmup(0.0, 0.3, 40),
            "warm-up, cosine": optim.warmup_cosine(0.0, 0.3, 20, 120),
            "one cycle": optim.one_cycle(120, 0.3),
            "Noam": optim.noam(64, 20, 2.0),
        },
        "rising again": {
            "cosine restarts": optim.cosine_restarts(0.3, 18, 2),
            "cyclic": optim.cyclic(0.05, 0.3, 15, mode="triangular2"),
        },
    }
    curves = {
        f"{name}/{kind}": (COUNTS, np.asarray(schedule(jnp.asarray(COUNTS))))
        for kind, schedules in kinds.items()
        for name, schedule in schedules.items()
    }
    figure = viz.learning_curves(curves, metrics=tuple(kinds))
    assert [axes.get_title() for axes in figure.axes] == list(kinds)
    for axes, (kind, schedules) in zip(figure.axes, kinds.items()):
        assert [line.get_label() for line in axes.lines] == list(schedules)
        for line, name in zip(axes.lines, schedules):
            np.testing.assert_allclose(line.get_ydata(), curves[f"{name}/{kind}"][1])


def test_restarts_stay_exact_at_any_count():
    """Powers of two: a logarithm in float32 would put some of these on the wrong side."""
    starts = np.cumsum([10 * 2**i for i in range(27)])
    schedule = optim.cosine_restarts(1.0, 10, 2)
    np.testing.assert_array_equal(schedule(jnp.asarray(starts, jnp.int32)), np.ones(27))
    assert float(schedule(jnp.asarray(starts - 1, jnp.int32)).max()) < 0.03
    assert float(optim.cosine_restarts(1.0, 10)(2**31 - 8)) == 1.0


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
            optim.time_based_decay(rate, rate),
            optim.noam(4, 2, rate),
            optim.cosine_restarts(rate, 2, 2),
            optim.cyclic(0.0, rate, 2, mode="exp_range", gamma=rate),
            optim.one_cycle(4, rate, 0.5, div_factor=rate),
        ]
        return jnp.stack([schedule(3) for schedule in schedules])

    rows = jax.jit(jax.vmap(values))(rates)
    for rate, got in zip(rates, rows):
        np.testing.assert_allclose(got, values(float(rate)), rtol=2e-6)


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
        (lambda: optim.time_based_decay(0.1, -1.0), "decay_rate must be finite and at least 0, got -1.0"),
        (lambda: optim.noam(0, 10), "features must be at least 1, got 0"),
        (lambda: optim.noam(8, 0), "warmup_steps must be at least 1, got 0"),
        (lambda: optim.cosine_restarts(0.1, 10, 0), "multiplier must be at least 1, got 0"),
        (lambda: optim.cosine_restarts(0.1, 0), "decay_steps must be at least 1, got 0"),
        (lambda: optim.cyclic(0.1, 0.2, 0), "steps_up must be at least 1, got 0"),
        (lambda: optim.cyclic(0.1, 0.2, 5, mode="square"), "mode must be one of 'triangular'"),
        (lambda: optim.one_cycle(1, 0.1), "transition_steps must be at least 2, got 1"),
        (
            lambda: optim.one_cycle(10, 0.1, 0.05),
            "pct_start . transition_steps must be between 1 and 9, got 0",
        ),
        (
            lambda: optim.warmup_cosine(0, 0.1, 10, 10),
            "decay_steps - warmup_steps must be positive and finite, got 0",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""What single optimizers promise beyond the table: settings, dtypes of state, exactness, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.optim.adaptive_variants import effective_length

GRADS = np.random.default_rng(0).normal(size=(100, 3)) * np.array([1e-2, 1.0, 30.0])
START = np.array([1.0, -2.0, 0.5])


def run(tx, grads, params):
    """Parameters after one step per gradient; one compiled program."""

    def body(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), grads)[0]


def test_ema_momentum_matches_torch_once_its_average_started_at_zero():
    # PyTorch's buffer starts at the first gradient; when that is 0 both start alike.
    torch = pytest.importorskip("torch")
    grads = np.concatenate([np.zeros((1, 3)), GRADS])
    params = torch.tensor(START, requires_grad=True)
    theirs = torch.optim.SGD([params], 0.1, momentum=0.9, dampening=0.9)
    for g in grads:
        params.grad = torch.tensor(g)
        theirs.step()
    with jax.enable_x64(True):
        got, _ = run(optim.ema_momentum(0.1), jnp.asarray(grads), jnp.asarray(START))
        np.testing.assert_allclose(got, params.detach().numpy(), rtol=1e-11)


def test_maximize_climbs():
    params, _ = run(optim.gradient_descent(0.1, maximize=True), jnp.ones((3, 2)), jnp.zeros(2))
    np.testing.assert_allclose(params, [0.3, 0.3], rtol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [
        optim.sgd(0.1, 0.9, accumulator_dtype=jnp.bfloat16),
        optim.sgd(0.1, 0.9, True, accumulator_dtype=jnp.bfloat16),
        optim.ema_momentum(0.1, accumulator_dtype=jnp.bfloat16),
        optim.adam(0.1, mu_dtype=jnp.bfloat16),
    ],
    ids=["momentum", "nesterov", "ema_momentum", "adam"],
)
def test_accumulator_dtype_is_kept(tx):
    params = jnp.ones(3)
    _, state = run(tx, jnp.ones((2, 3)), params)
    assert next(leaf.dtype for leaf in jax.tree.leaves(state) if leaf.shape == (3,)) == jnp.bfloat16


def test_small_squares_still_add_up_under_bfloat16():
    # 1e-3 g^2 is lost beside v in eight bits: a bfloat16 v would stall far below E[g^2] = 1.
    params = jnp.zeros(1, jnp.bfloat16)
    _, state = run(optim.adam(1e-3), jnp.ones((4000, 1), jnp.bfloat16), params)
    np.testing.assert_allclose(state[0].nu, [1 - 0.999**4000], rtol=1e-4)


def test_the_rate_of_the_last_update_is_in_the_state():
    tx = optim.adam(optim.exponential_decay(0.1, 1, 0.5))
    params = jnp.ones(2)
    state, rates = tx.init(params), []
    for _ in range(3):
        _, state = tx.update(params, state, params)
        ((_, rate),) = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")
        rates.append(float(rate))
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.025], rtol=1e-6)
    assert rate.dtype == jnp.float32


def test_bias_correction_is_exact_in_float32():
    # 1 - 0.999^1 in float32 is wrong in the fifth digit; the first step of Adam is learning_rate sign(g).
    updates, _ = optim.adam(1.0, eps=0.0).update(jnp.array([3.0]), optim.adam(1.0).init(jnp.zeros(1)))
    np.testing.assert_allclose(updates, [-1.0], rtol=3e-7)


def test_centered_rmsprop_survives_a_constant_gradient():
    # v - m^2 tends to 0 from both sides in float32; Optax takes the root of the negative ones.
    params, _ = run(optim.rmsprop(0.1, centered=True), jnp.full((500, 3), 10.0), jnp.zeros(3))
    assert bool(jnp.isfinite(params).all())


def test_adagrad_without_eps_stays_where_it_never_saw_a_gradient():
    tx = optim.adagrad(0.1, 0.0, 0.0)
    updates, _ = tx.update(jnp.array([0.0, 2.0]), tx.init(jnp.ones(2)))
    np.testing.assert_allclose(updates, [0.0, -0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.adam(-1e-3), "learning_rate must be finite and at least 0, got -0.001"),
        (lambda: optim.sgd(float("nan")), "learning_rate must be finite and at least 0, got nan"),
        (
            lambda: optim.gradient_descent(float("inf")),
            "learning_rate must be finite and at least 0, got inf",
        ),
        (lambda: optim.adam(1e-3, b1=1.0), "b1 must be at least 0 and below 1, got 1.0"),
        (lambda: optim.adamw(1e-3, b2=-0.1), "b2 must be at least 0 and below 1, got -0.1"),
        (lambda: optim.adam(1e-3, eps=-1), "eps must be finite and at least 0, got -1"),
        (lambda: optim.adamw(1e-3, weight_decay=-1), "weight_decay must be finite and at least 0, got -1"),
        (lambda: optim.sgd(1e-3, momentum=1), "momentum must be at least 0 and below 1, got 1"),
        (lambda: optim.sgd(1e-3, nesterov=True), "nesterov=True needs momentum"),
        (lambda: optim.momentum(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (lambda: optim.ema_momentum(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (lambda: optim.nesterov(1e-3, decay=2), "decay must be at least 0 and below 1, got 2"),
        (
            lambda: optim.adagrad(1e-3, -0.1),
            "initial_accumulator_value must be finite and at least 0, got -0.1",
        ),
        (lambda: optim.rmsprop(1e-3, 1.5), "decay must be at least 0 and below 1, got 1.5"),
        (lambda: optim.rmsprop(1e-3, nesterov=True), "nesterov=True needs momentum"),
        (lambda: optim.rmsprop(1e-3, momentum=-1), "momentum must be at least 0 and below 1, got -1"),
        (lambda: optim.adadelta(rho=1.0), "rho must be at least 0 and below 1, got 1.0"),
        (lambda: optim.adadelta(eps=0.0), "eps must be positive and finite, got 0.0"),
        (lambda: optim.adadelta(weight_decay=-1), "strength must be finite and at least 0, got -1"),
        (lambda: optim.nadam(1e-3, b1=1), "b1 must be at least 0 and below 1, got 1"),
        (lambda: optim.adamax(1e-3, eps=0), "eps must be positive and finite, got 0"),
        (lambda: optim.amsgrad(1e-3, eps_root=-1), "eps_root must be finite and at least 0, got -1"),
        (lambda: optim.radam(1e-3, threshold=3), "threshold must be at least 4, got 3"),
        (lambda: optim.radam(1e-3, b2=0.0), "b2 must be positive and finite, got 0.0"),
        (lambda: optim.adabelief(1e-3, b2=1.5), "b2 must be at least 0 and below 1, got 1.5"),
        (lambda: optim.adamomentum(1e-3, eps=0.0), "eps must be positive and finite, got 0.0"),
        (lambda: optim.yogi(float("nan")), "learning_rate must be finite and at least 0, got nan"),
        (lambda: optim.adafactor(1e-3, 0), "min_dim_size_to_factor must be at least 1, got 0"),
        (lambda: optim.adafactor(1e-3, decay_rate=2.0), "decay_rate must be between 0 and 1, got 2.0"),
        (
            lambda: optim.adafactor(1e-3, clipping_threshold=0.0),
            "clipping_threshold must be positive and finite, got 0.0",
        ),
        (lambda: optim.lamb(1e-3, weight_decay=-1), "weight_decay must be finite and at least 0, got -1"),
        (lambda: optim.lars(1e-3, momentum=1.0), "momentum must be at least 0 and below 1, got 1.0"),
        (
            lambda: optim.lars(1e-3, trust_coefficient=0.0),
            "trust_coefficient must be positive and finite, got 0.0",
        ),
        (lambda: optim.lion(1e-3, b2=1.0), "b2 must be at least 0 and below 1, got 1.0"),
        (lambda: optim.signsgd(-1.0), "learning_rate must be finite and at least 0, got -1.0"),
        (lambda: optim.rprop(1e-3, eta_minus=1.2), "eta_minus must be at least 0 and below 1, got 1.2"),
        (lambda: optim.rprop(1e-3, eta_plus=1.0), "eta_plus - 1 must be positive and finite, got 0.0"),
        (
            lambda: optim.rprop(1e-3, min_step_size=1.0, max_step_size=0.5),
            "max_step_size - min_step_size must be positive and finite, got -0.5",
        ),
        (
            lambda: optim.rprop(100.0),
            "max_step_size - learning_rate must be finite and at least 0, got -50.0",
        ),
        (lambda: optim.delta_bar_delta(1e-3, kappa=-1), "kappa must be finite and at least 0, got -1"),
        (lambda: optim.delta_bar_delta(1e-3, phi=1.0), "phi must be at least 0 and below 1, got 1.0"),
        (lambda: optim.muon(1e-3, ns_steps=0), "ns_steps must be at least 1, got 0"),
        (
            lambda: optim.muon(1e-3, (1.0, 2.0)),
            "ns_coeffs must be 3 numbers, or 3 for each step, got",
        ),
        (lambda: optim.muon(1e-3, "best"), "ns_coeffs must be one of 'standard', 'dion', got 'best'"),
        (
            lambda: optim.muon(1e-3, preconditioning="none"),
            "preconditioning must be one of 'frobenius', 'spectral', 'aol', 'schatten', got 'none'",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


@pytest.mark.parametrize("make", [optim.adam, optim.adafactor, optim.muon, optim.rprop])
def test_integer_parameters_are_named(make):
    with pytest.raises(TypeError, match="layer/count must be floating point, got int32"):
        make(1e-3).init({"layer": {"count": jnp.zeros(2, jnp.int32)}})


@pytest.mark.parametrize("make", [optim.lamb, optim.lars, optim.adafactor, optim.adadelta])
def test_what_looks_at_the_parameters_asks_for_them(make):
    tx = make(1e-3)
    with pytest.raises(ValueError, match="needs the parameters|must be given to update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_radam_decides_as_published_in_float32():
    """rho_t passes 5 at the sixth step; the published form, in float32, is off by 0.1 there."""
    t, b2 = np.arange(1, 2000), 0.999
    want = 2 / (1 - b2) - 1 - 2 * t * b2**t / (1 - b2**t)
    np.testing.assert_allclose(effective_length(b2, jnp.asarray(t)), want, rtol=2e-6)
    for decay in (0.5, 0.9, 0.99):
        want = 2 / (1 - decay) - 1 - 2 * t[:300] * decay ** t[:300] / (1 - decay ** t[:300])
        np.testing.assert_allclose(effective_length(decay, jnp.asarray(t[:300])), want, rtol=2e-6)


def test_adafactor_keeps_one_row_and_one_column():
    params = {"kernel": jnp.ones((3, 200, 300)), "bias": jnp.ones(300), "narrow": jnp.ones((100, 300))}
    state = optim.scale_by_factored_rms().init(params)
    assert jax.tree.map(jnp.shape, state.v_row) == {"kernel": (3, 200), "bias": (1,), "narrow": (1,)}
    assert jax.tree.map(jnp.shape, state.v_col) == {"kernel": (3, 300), "bias": (1,), "narrow": (1,)}
    assert jax.tree.map(jnp.shape, state.v) == {"kernel": (1,), "bias": (300,), "narrow": (100, 300)}


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (2, 6, 4), (5, 5, 3)])
def test_adafactor_factors_the_axes_that_optax_factors(shape):
    grads = jnp.asarray(np.random.default_rng(0).normal(size=(3, *shape)), jnp.float32)
    ours, theirs = (
        make(min_dim_size_to_factor=4) for make in (optim.scale_by_factored_rms, optax.scale_by_factored_rms)
    )

    @jax.jit
    def updates():
        params = jnp.ones(shape)
        states = [ours.init(params), theirs.init(params)]
        for g in grads:
            results = [tx.update(g, state, params) for tx, state in zip((ours, theirs), states)]
            states = [state for _, state in results]
        return [u for u, _ in results]

    np.testing.assert_allclose(*updates(), rtol=1e-5)


MUON = [
    pytest.param((4, 3), {"preconditioning": "spectral"}, id="spectral"),
    pytest.param((3, 4), {"preconditioning": "aol", "ns_steps": 4}, id="aol"),
    pytest.param((4, 3), {"preconditioning": "schatten"}, id="schatten"),
    pytest.param(
        (3, 4), {"ns_coeffs": ((3.0, -4.0, 2.0), (2.0, -1.5, 0.5)), "ns_steps": 2}, id="coefficients"
    ),
    pytest.param(
        (2, 3, 5, 4),
        {"muon_weight_dimension_numbers": {"w": optax.contrib.MuonDimensionNumbers((0, 1, 2), 3), "b": None}},
        id="convolution",
    ),
    pytest.param(
        (4, 2, 3),
        {
            "muon_weight_dimension_numbers": lambda params: {
                "w": optax.contrib.MuonDimensionNumbers(-1, 0),
                "b": None,
            }
        },
        id="batch-of-matrices",
    ),
]


@pytest.mark.parametrize(("shape", "settings"), MUON)
def test_muon_matches_optax(shape, settings):
    draw = np.random.default_rng(0)
    grads = {"w": jnp.asarray(draw.normal(size=shape), jnp.float32), "b": jnp.ones(3)}
    params = jax.tree.map(jnp.ones_like, grads)

    def second_update(make):
        tx = make(0.1, **settings)
        _, state = tx.update(grads, tx.init(params), params)
        return tx.update({"w": jnp.sin(grads["w"]), "b": -grads["b"]}, state, params)[0]

    ours, theirs = jax.jit(lambda: [second_update(make) for make in (optim.muon, optax.contrib.muon)])()
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["b"], theirs["b"], rtol=1e-4, atol=1e-5)


def test_muon_names_what_is_not_a_matrix():
    with pytest.raises(ValueError, match=r"must have rank 2 or more, got shape \(3,\)"):
        optim.scale_by_muon().update(jnp.ones(3), optim.scale_by_muon().init(jnp.ones(3)))
    spec = optax.contrib.MuonDimensionNumbers((0, 1), -1)
    tx = optim.scale_by_muon(weight_dimension_numbers=spec)
    with pytest.raises(ValueError, match="must not share an axis"):
        tx.update(jnp.ones((3, 2)), tx.init(jnp.ones((3, 2))))

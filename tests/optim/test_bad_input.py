"""Input that no optimizer takes: the same table of it over all of them; and trees with nothing in them."""

import inspect
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

BAD_RATES = (-0.1, float("nan"), float("inf"))
DECAYS = ("adam_b1", "adam_b2", "b1", "b2", "beta", "decay", "momentum", "phi", "rho")
SIGNATURES = {
    name: inspect.signature(getattr(optim, name)).parameters
    for name in optim.__all__
    if inspect.isfunction(getattr(optim, name))
}


@pytest.mark.parametrize("rate", BAD_RATES)
def test_a_learning_rate_below_0_or_not_finite(optimizer, rate):
    with pytest.raises(ValueError, match=f"^learning_rate must be finite and at least 0, got {rate}$"):
        optimizer.ours(rate)


@pytest.mark.parametrize(
    ("name", "setting"),
    [(name, setting) for name, settings in SIGNATURES.items() for setting in DECAYS if setting in settings],
)
def test_a_decay_outside_0_to_1(name, setting):
    required = {p.name: 0.1 for p in SIGNATURES[name].values() if p.default is inspect.Parameter.empty}
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"^{setting} must be at least 0 and below 1, got {bad}$"):
            getattr(optim, name)(**required | {setting: bad})


def test_the_table_of_decays_has_what_has_moments():
    names = {name for name, settings in SIGNATURES.items() if set(DECAYS) & set(settings)}
    some = (
        "adadelta adafactor adam delta_bar_delta lamb lars lion muon nesterov rmsprop scale_by_radam sgd yogi"
    )
    assert set(some.split()) <= names


def test_integer_parameters(optimizer):
    params = {"layer": {"weight": jnp.ones(2), "count": jnp.zeros(2, jnp.int32)}}
    with pytest.raises(TypeError, match="^layer/count must be floating point, got int32$"):
        optimizer.ours(0.1).init(params)


def test_nothing_is_moved_by_nothing(optimizer):
    """What `optax.masked` and `optax.partition` leave over may be an empty tree, and a layer may have no units."""
    tx = optimizer.ours(0.1)
    assert tx.update({}, tx.init({}), {})[0] == {}
    params = {"none": jnp.zeros((0, 2)), "some": jnp.ones((2, 2))}
    updates, state = tx.update(params, tx.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_tree_all_finite((updates, state))


LINKS = {
    "accumulate": optim.accumulate(optim.sgd(0.1), 2),
    "adaptive_clip": optim.adaptive_clip(0.1),
    "add_gradient_noise": optim.add_gradient_noise(0.1, 0.5, jax.random.key(0)),
    "clip_by_global_norm": optim.clip_by_global_norm(1.0),
    "exponential_moving_average": optim.exponential_moving_average(0.9),
    "max_norm_projection": optim.max_norm_projection(1.0),
    "sam": optim.sam(optim.sgd(0.1), optim.sgd(0.1)),
    "scale_to_norm": optim.scale_to_norm(1.0),
    "skip_nonfinite": optim.skip_nonfinite(optim.adam(0.1), 1),
    "weight_clipping": optim.weight_clipping(1.0),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_pass_an_empty_tree_on(name):
    tx = LINKS[name]
    assert tx.update({}, tx.init({}), {})[0] == {}


def nothing(params):
    return sum(jnp.sum(x) for x in jax.tree.leaves(params)) + jnp.zeros(())


@pytest.mark.parametrize("params", [{}, jnp.zeros((0, 3))], ids=["no-arrays", "no-entries"])
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda params: optim.minimize(nothing, params, optim.adam(0.1)), id="minimize"),
        pytest.param(lambda params: optim.lagrange_multipliers(nothing, nothing, params), id="lagrange"),
        pytest.param(
            lambda params: optim.augmented_lagrangian(nothing, params, equality_fn=nothing), id="augmented"
        ),
        pytest.param(lambda params: optim.kkt_residual(nothing, params), id="kkt"),
        pytest.param(optim.bfgs().init, id="bfgs"),
        pytest.param(optim.lbfgs().init, id="lbfgs"),
        pytest.param(optim.conjugate_gradient().init, id="conjugate_gradient"),
    ],
)
def test_what_looks_for_a_minimum_needs_parameters(call, params):
    got = re.escape("{}" if isinstance(params, dict) else "{'params': (0, 3)}")
    with pytest.raises(ValueError, match=f"^params must hold at least one number, got {got}$"):
        call(params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.accumulate(optim.sgd(0.1), 0), "every_k_schedule must be at least 1, got 0"),
        (lambda: optim.lookahead(optim.sgd(0.1), 0, 0.5), "sync_period must be at least 1, got 0"),
        (lambda: optim.sam(optim.sgd(0.1), optim.sgd(0.1), 0), "sync_period must be at least 1, got 0"),
        (lambda: optim.lbfgs(memory_size=0), "memory_size must be at least 1, got 0"),
        (lambda: optim.muon(0.1, ns_steps=0), "ns_steps must be at least 1, got 0"),
        (lambda: optim.reduce_on_plateau(accumulation_size=0), "accumulation_size must be at least 1, got 0"),
    ],
    ids=["accumulate", "lookahead", "sam", "lbfgs", "muon", "reduce_on_plateau"],
)
def test_a_count_below_1(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_a_schedule_may_give_any_rate_and_a_traced_rate_is_not_judged():
    """Both are data: to judge them would need their values while the program is made."""
    updates = jax.vmap(
        lambda rate: optim.sgd(rate).update(jnp.ones(2), optim.sgd(rate).init(jnp.ones(2)))[0]
    )(jnp.array([-1.0, 2.0]))
    np.testing.assert_array_equal(updates, [[1, 1], [-2, -2]])
    tx = optim.adam(lambda count: -1.0)
    assert optax.apply_updates(jnp.ones(1), tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0]) > 1

"""Clipping, weight decay, freezing and skipping: the links around an optimizer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import optim

WEIGHTS = np.array([[3.0, 0.0], [4.0, 0.0]], np.float32)  # into two units, of norms 5 and 0


def apply(tx, grads, params=None):
    return tx.update(grads, tx.init(params if params is not None else grads), params)[0]


def random_tree(seed=0, scale=1.0):
    a, b = jax.random.split(jax.random.key(seed))
    return {"a": {"kernel": scale * jax.random.normal(a, (2, 3))}, "b": scale * jax.random.normal(b, (4,))}


@pytest.mark.parametrize(
    ("tx", "grad", "want"),
    [
        pytest.param(optim.clip_by_norm(1.0), [3.0, 4.0], [0.6, 0.8], id="000-G8-norm"),
        pytest.param(optim.clip_by_global_norm(1.0), [3.0, 4.0], [0.6, 0.8], id="000-G8-global-norm"),
        pytest.param(optim.clip_by_value(100.0), [-250.0, 50.0, 15.0], [-100, 50, 15], id="000-G8-value-100"),
        pytest.param(optim.clip_by_value(10.0), [-250.0, 50.0, 15.0], [-10, 10, 10], id="000-G8-value-10"),
        pytest.param(optim.scale_to_norm(1.0), [3.0, 4.0], [0.6, 0.8], id="000-G8-scale"),
        pytest.param(optim.scale_to_norm(10.0), [3.0, 4.0], [6.0, 8.0], id="000-G8-scale-up"),
    ],
)
def test_golden_clipping(tx, grad, want):
    np.testing.assert_allclose(apply(tx, jnp.array(grad)), want, rtol=1e-6)


def test_adaptive_clipping_by_hand():
    """A unit of norm 5 may have a gradient of 0.5, one of norm 0 counts as 1e-3; the first has 10, the second 1e-4."""
    got = apply(optim.adaptive_clip(0.1), jnp.array([[6.0, 6e-5], [8.0, 8e-5]]), WEIGHTS)
    np.testing.assert_allclose(got, [[0.3, 6e-5], [0.4, 8e-5]], rtol=1e-6)
    got = apply(optim.adaptive_clip(0.1), jnp.array([[0.3, 6.0], [0.4, 8.0]]), WEIGHTS)
    np.testing.assert_allclose(got, [[0.3, 6e-5], [0.4, 8e-5]], rtol=1e-6)
    np.testing.assert_array_equal(
        apply(optim.adaptive_clip(0.1), jnp.zeros((2, 2)), WEIGHTS), jnp.zeros((2, 2))
    )


@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_clipping_matches_optax_and_torch(limit):
    torch = pytest.importorskip("torch")
    grads = random_tree(scale=3.0)
    chex.assert_trees_all_close(
        apply(optim.clip_by_global_norm(limit), grads),
        apply(optax.clip_by_global_norm(limit), grads),
        rtol=1e-6,
    )
    chex.assert_trees_all_equal(apply(optim.clip_by_value(limit), grads), apply(optax.clip(limit), grads))

    def torch_clip(leaves, clip):
        parameters = [torch.zeros(x.shape, requires_grad=True) for x in leaves]
        for p, x in zip(parameters, leaves):
            p.grad = torch.tensor(np.asarray(x))
        clip(parameters)
        return [p.grad.numpy() for p in parameters]

    leaves = jax.tree.leaves(grads)
    ours = jax.tree.leaves(apply(optim.clip_by_global_norm(limit), grads))
    theirs = torch_clip(leaves, lambda ps: torch.nn.utils.clip_grad_norm_(ps, limit))
    chex.assert_trees_all_close(ours, theirs, rtol=2e-6)  # PyTorch adds 1e-6 to the norm
    ours = jax.tree.leaves(apply(optim.clip_by_norm(limit), grads))
    theirs = torch_clip(leaves, lambda ps: [torch.nn.utils.clip_grad_norm_([p], limit) for p in ps])
    chex.assert_trees_all_close(ours, theirs, rtol=2e-6)


clip_global = jax.jit(lambda grads, limit: apply(optim.clip_by_global_norm(limit), grads))


@settings(deadline=None, max_examples=50)
@given(
    scale=st.floats(1e-30, 1e30),
    limit=st.floats(1e-3, 1e3),
    seed=st.integers(0, 5),
)
def test_clipped_norm_at_any_scale(scale, limit, seed):
    """The norm becomes min(norm, limit) and the direction stays, also where squares overflow or vanish."""
    grads = random_tree(seed, np.float32(scale))
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(grads)]).astype(np.float64)
    norm = np.linalg.norm(flat)
    want = flat * min(1, limit / norm)
    got = clip_global(grads, limit)
    np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in jax.tree.leaves(got)]), want, rtol=3e-6)


def test_golden_000_G8_clipping_by_group():
    grads = {"lstm": {"kernel": jnp.array([-250.0, 50.0, 15.0])}, "output": jnp.array([-250.0, 50.0, 15.0])}
    got = apply(optim.clip_by_group({"^output": 100.0, "": 10.0}), grads)
    want = {"lstm": {"kernel": jnp.array([-10.0, 10.0, 10.0])}, "output": jnp.array([-100.0, 50.0, 15.0])}
    chex.assert_trees_all_equal(got, want)
    only = apply(optim.clip_by_group({"^output": 100.0}), grads)
    chex.assert_trees_all_equal(only, {"lstm": grads["lstm"], "output": want["output"]})
    with pytest.raises(
        ValueError, match="must match at least one parameter, got '\\^dense' and lstm/kernel, output"
    ):
        optim.clip_by_group({"^output": 100.0, "^dense": 1.0}).init(grads)


@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_adaptive_clipping_matches_optax(limit):
    draw = np.random.default_rng(0)
    shapes = [(), (3,), (4, 3), (2, 3, 4), (2, 2, 3, 4), (2, 2, 2, 3, 2), (1, 5)]
    grads, params, tiny = (
        {str(shape): jnp.asarray(scale * draw.normal(size=shape), jnp.float32) for shape in shapes}
        for scale in (1.0, 1.0, 1e-5)
    )

    def clipped(make):
        by_rank = [apply(make(limit), grads, weights) for weights in (params, tiny)]
        return by_rank, apply(make(limit, axis=0), grads["(2, 2, 3, 4)"], params["(2, 2, 3, 4)"])

    ours, theirs = jax.jit(
        lambda: [clipped(make) for make in (optim.adaptive_clip, optax.adaptive_grad_clip)]
    )()
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)


def test_adaptive_clipping_shows_nan_and_takes_any_rank():
    nan = {"w": jnp.array([[jnp.nan, 1.0], [1.0, 1.0]])}
    got = apply(optim.adaptive_clip(0.1), nan, {"w": jnp.ones((2, 2))})["w"]
    np.testing.assert_array_equal(jnp.isnan(got), [[True, False], [True, False]])  # a unit is a column
    six = jnp.ones((1, 1, 1, 1, 4, 3))
    np.testing.assert_allclose(apply(optim.adaptive_clip(0.1), six, six), jnp.full_like(six, 0.1), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1.0, 1e20, 1e37])
def test_scaled_norm_at_any_scale(scale):
    grads = random_tree(0, np.float32(scale))
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(grads)]).astype(np.float64)
    got = jax.jit(lambda g: apply(optim.scale_to_norm(3.0), g))(grads)
    got = np.concatenate([np.ravel(x) for x in jax.tree.leaves(got)])
    np.testing.assert_allclose(got, 3 * flat / np.linalg.norm(flat), rtol=3e-6)


@pytest.mark.parametrize(
    "make", [optim.clip_by_norm, optim.clip_by_global_norm, optim.clip_by_value, optim.scale_to_norm]
)
def test_clipping_in_half_precision_and_of_nothing(make):
    big = {"x": jnp.full(4, 300.0, jnp.float16), "empty": jnp.zeros((0, 2)), "zero": jnp.zeros(2)}
    got = apply(make(1.0), big)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, big)
    np.testing.assert_allclose(got["x"], 1.0 if make is optim.clip_by_value else 0.5, rtol=1e-3)
    np.testing.assert_array_equal(got["zero"], jnp.zeros(2))
    assert jax.tree.leaves(apply(make(1.0), {})) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_by_norm_does_not_hide_what_is_not_finite(bad):
    got = apply(optim.clip_by_global_norm(1.0), {"a": jnp.array([bad, 1.0]), "b": jnp.ones(2)})
    assert bool(jnp.isnan(got["a"][0]))


def run(tx, grads, params):
    state = tx.init(params)
    for g in grads:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params


def compiled(tx):
    return optax.GradientTransformation(tx.init, jax.jit(tx.update))


def test_coupled_and_decoupled_decay_match_torch_and_differ():
    torch = pytest.importorskip("torch")
    grads = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    start = np.array([1.0, -2.0, 3.0], np.float32)

    def theirs(make):
        params = torch.tensor(start, requires_grad=True)
        optimizer = make([params])
        for g in grads:
            params.grad = torch.tensor(g)
            optimizer.step()
        return params.detach().numpy()

    coupled = run(compiled(optax.chain(optim.coupled_l2(0.1), optim.adam(0.1))), grads, jnp.asarray(start))
    decoupled = run(compiled(optim.adamw(0.1, weight_decay=0.1)), grads, jnp.asarray(start))
    np.testing.assert_allclose(
        coupled, theirs(lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1)), rtol=1e-4
    )
    np.testing.assert_allclose(
        decoupled, theirs(lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1)), rtol=1e-4
    )
    assert float(jnp.abs(coupled - decoupled).max()) > 1e-2
    descent = run(
        compiled(optax.chain(optim.coupled_l2(0.1), optim.sgd(0.1, 0.9))), grads, jnp.asarray(start)
    )
    np.testing.assert_allclose(
        descent, theirs(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1)), rtol=1e-4
    )


def test_coupled_decay_is_the_gradient_of_a_penalty():
    params, grads = random_tree(1), random_tree(2)
    want = jax.grad(
        lambda p: (
            0.05 * sum(jnp.sum(x**2) for x in jax.tree.leaves(p))
            + sum(jnp.sum(x * g) for x, g in zip(jax.tree.leaves(p), jax.tree.leaves(grads)))
        )
    )(params)
    chex.assert_trees_all_close(apply(optim.coupled_l2(0.1), grads, params), want, rtol=1e-5)


@pytest.mark.parametrize("make", [optim.add_decayed_weights, optim.coupled_l2])
def test_decay_masks_schedules_and_needs_parameters(make):
    params, grads = random_tree(1), random_tree(2)
    mask = jax.tree.map(lambda p: p.ndim > 1, params)
    for m in (mask, lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree)):
        got = apply(make(0.1, m), grads, params)
        chex.assert_trees_all_equal(got, apply(optax.add_decayed_weights(0.1, mask), grads, params))
        chex.assert_trees_all_equal(got["b"], grads["b"])
    tx = make(optim.piecewise_constant(1.0, {1: 0.0}))
    state = tx.init(params)
    first, state = tx.update(grads, state, params)
    second, _ = tx.update(grads, state, params)
    chex.assert_trees_all_close(first, jax.tree.map(jnp.add, grads, params))
    chex.assert_trees_all_equal(second, grads)
    with pytest.raises(ValueError, match="needs the parameters"):
        apply(make(0.1), grads)
    assert apply(make(0.1), jnp.ones(2, jnp.bfloat16), jnp.ones(2)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "pattern", ["kernel$", r"^a/", lambda path: path.endswith("kernel")], ids=["suffix", "prefix", "function"]
)
def test_freeze_stops_what_matches_and_nothing_else(pattern):
    params = random_tree(1)
    tx = optax.chain(optim.adamw(0.1, weight_decay=0.1), optim.freeze(pattern))
    free = run(optim.adamw(0.1, weight_decay=0.1), [random_tree(i) for i in range(3)], params)
    got = run(tx, [random_tree(i) for i in range(3)], params)
    chex.assert_trees_all_equal(got["a"], params["a"])
    chex.assert_trees_all_equal(got["b"], free["b"])
    nan = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), params)
    assert not bool(jnp.isnan(apply(optim.freeze(pattern), nan)["a"]["kernel"]).any())


def test_freeze_needs_a_match():
    with pytest.raises(
        ValueError, match=r"pattern must match at least one parameter, got 'Dense_9' and a/kernel, b"
    ):
        optim.freeze("Dense_9").init(random_tree())


def torch_groups(torch, params, grads, groups, make):
    """Parameters after PyTorch's optimizer, one group of settings per leaf."""
    tensors = {name: torch.tensor(np.asarray(x), requires_grad=True) for name, x in params.items()}
    optimizer = make([{"params": [tensors[name]], **settings} for name, settings in groups.items()])
    for g in grads:
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(np.asarray(g[name]))
        optimizer.step()
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


NET = ("encoder/Dense_0/kernel", "encoder/Dense_0/bias", "encoder/LayerNorm_0/scale", "head/kernel")


def net_and_gradients():
    draw = np.random.default_rng(0)
    trees = [{name: jnp.asarray(draw.normal(size=3), jnp.float32) for name in NET} for _ in range(11)]
    return trees[0], trees[1:]


def test_biases_and_norm_scales_do_not_decay_in_one_line():
    torch = pytest.importorskip("torch")
    params, grads = net_and_gradients()
    for pattern in ("kernel$", lambda path: not path.endswith(("bias", "scale"))):
        tx = optim.adamw(0.1, weight_decay=0.3, mask=optim.path_mask(pattern))
        got = run(compiled(tx), grads, params)
        groups = {name: {"weight_decay": 0.3 if name.endswith("kernel") else 0.0} for name in NET}
        want = torch_groups(torch, params, grads, groups, lambda groups: torch.optim.AdamW(groups, 0.1))
        chex.assert_trees_all_close(got, want, rtol=1e-5)
    with pytest.raises(ValueError, match="must match at least one parameter, got 'kernels'"):
        optim.adamw(0.1, mask=optim.path_mask("kernels")).init(params)


def test_layerwise_rates_are_those_of_torch_groups():
    torch = pytest.importorskip("torch")
    params, grads = net_and_gradients()
    link = optim.layerwise_learning_rates(
        {"^encoder.*bias$": 2.0, "^encoder/": 0.1}
    )  # the first match decides
    got = run(compiled(optax.chain(optim.adamw(0.1, weight_decay=0.3), link)), grads, params)
    rates = dict(zip(NET, (0.01, 0.2, 0.01, 0.1)))
    groups = {name: {"lr": rate} for name, rate in rates.items()}
    want = torch_groups(torch, params, grads, groups, lambda gs: torch.optim.AdamW(gs, 0.1, weight_decay=0.3))
    chex.assert_trees_all_close(got, want, rtol=1e-5)
    with pytest.raises(ValueError, match="must match at least one parameter, got 'decoder'"):
        optim.layerwise_learning_rates({"decoder": 0.1}).init(params)


def test_skip_nonfinite_matches_optax_and_freezes_the_state():
    good, bad = jnp.array([1.0, -2.0]), jnp.array([jnp.nan, 1.0])
    sequence = [good, bad, good, bad, bad, good, bad, bad, bad]
    ours, theirs = optim.skip_nonfinite(optim.adam(0.1), 2), optax.apply_if_finite(optax.adam(0.1), 2)
    params = {"ours": jnp.ones(2), "theirs": jnp.ones(2)}
    states = {"ours": ours.init(jnp.ones(2)), "theirs": theirs.init(jnp.ones(2))}
    update = {"ours": jax.jit(ours.update), "theirs": jax.jit(theirs.update)}
    for g in sequence:
        before = states["ours"].inner
        for name in params:
            updates, states[name] = update[name](g, states[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
        np.testing.assert_allclose(params["ours"], params["theirs"], rtol=1e-5)
        assert int(states["ours"].consecutive) == int(states["theirs"].notfinite_count)
        assert int(states["ours"].total) == int(states["theirs"].total_notfinite)
        if not bool(jnp.isfinite(g).all()) and int(states["ours"].consecutive) <= 2:
            chex.assert_trees_all_equal(states["ours"].inner, before)
    assert bool(jnp.isnan(params["ours"]).any())  # the third in a row goes through


def test_skip_nonfinite_passes_extra_arguments_on():
    tx = optim.skip_nonfinite(optax.contrib.reduce_on_plateau(), 1)
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value=jnp.array(1.0))
    np.testing.assert_array_equal(updates, jnp.ones(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.clip_by_value(0.0), "max_delta must be positive and finite, got 0.0"),
        (lambda: optim.clip_by_group({"": 0.0}), "bound of '' must be positive and finite, got 0.0"),
        (lambda: optim.scale_to_norm(0.0), "norm must be positive and finite, got 0.0"),
        (lambda: optim.adaptive_clip(-1.0), "clipping must be positive and finite, got -1.0"),
        (lambda: optim.adaptive_clip(0.1, eps=0.0), "eps must be positive and finite, got 0.0"),
        (
            lambda: optim.layerwise_learning_rates({"a": -1.0}),
            "factor of 'a' must be finite and at least 0, got -1.0",
        ),
        (lambda: apply(optim.adaptive_clip(0.1), jnp.ones(2)), "params must be given to update"),
        (lambda: optim.clip_by_norm(-1.0), "max_norm must be positive and finite, got -1.0"),
        (lambda: optim.clip_by_global_norm(float("inf")), "max_norm must be positive and finite, got inf"),
        (lambda: optim.add_decayed_weights(-1.0), "weight_decay must be finite and at least 0, got -1.0"),
        (lambda: optim.coupled_l2(-1.0), "strength must be finite and at least 0, got -1.0"),
        (
            lambda: optim.skip_nonfinite(optim.sgd(0.1), -1),
            "max_consecutive_errors must be at least 0, got -1",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clip_limits_may_be_traced():
    got = jax.vmap(lambda limit: apply(optim.clip_by_global_norm(limit), jnp.array([3.0, 4.0])))(
        jnp.array([1.0, 10.0])
    )
    np.testing.assert_allclose(got, [[0.6, 0.8], [3.0, 4.0]], rtol=1e-6)

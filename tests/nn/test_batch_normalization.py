"""Batch normalization: PyTorch, linen, worked numbers, masks against sliced batches, mapped axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variables(channels, seed=5):
    return {
        "params": {"scale": normal(seed, channels), "bias": normal(seed + 1, channels)},
        "batch_stats": {"mean": normal(seed + 2, channels), "var": np.exp(normal(seed + 3, channels))},
    }


def close(got, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)


def training(layer):
    """Output, new statistics, and derivatives by parameters and input, in one program."""

    @jax.jit
    def run(variables, x, weight, *args, **kwargs):
        def call(params, x):
            return layer.apply(
                variables | {"params": params}, x, *args, train=True, mutable=["batch_stats"], **kwargs
            )

        y, pullback, state = jax.vjp(call, variables["params"], x, has_aux=True)
        return y, state["batch_stats"], *pullback(weight)

    return run


TORCH_SETTINGS = {"momentum": 0.3, "momentum_convention": "rate", "unbiased_running_var": True}


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5, 4)], ids=str)
def test_matches_torch(shape):
    torch = pytest.importorskip("torch")
    there = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(4, momentum=0.3)
    start = variables(4)
    with torch.no_grad():
        there.weight.copy_(torch.tensor(start["params"]["scale"]))
        there.bias.copy_(torch.tensor(start["params"]["bias"]))
        there.running_mean.copy_(torch.tensor(start["batch_stats"]["mean"]))
        there.running_var.copy_(torch.tensor(start["batch_stats"]["var"]))

    def channels_first(x):
        return torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)

    layer = nn.BatchNorm(**TORCH_SETTINGS)
    run, state = training(layer), start
    for update in range(3):
        x, weight = 2 * normal(10 + update, *shape) + 3, normal(20 + update, *shape)
        y, stats, params, dx = run(state, x, weight)
        x = channels_first(x)
        expected = there(x)
        there.zero_grad()
        expected.backward(channels_first(weight))
        close(np.moveaxis(y, -1, 1), expected.detach().numpy())
        close(np.moveaxis(dx, -1, 1), x.grad.numpy())
        close(params, {"scale": there.weight.grad.numpy(), "bias": there.bias.grad.numpy()})
        close(stats, {"mean": there.running_mean.numpy(), "var": there.running_var.numpy()})
        state = state | {"batch_stats": stats}

    there.eval()
    there.zero_grad()
    x, weight = normal(30, *shape), normal(31, *shape)

    @jax.jit
    def evaluate(params, x):
        y, pullback = jax.vjp(lambda p, x: layer.apply(state | {"params": p}, x, train=False), params, x)
        return y, *pullback(weight)

    y, params, dx = evaluate(state["params"], x)
    x = channels_first(x)
    expected = there(x)
    expected.backward(channels_first(weight))
    close(np.moveaxis(y, -1, 1), expected.detach().numpy())
    close(np.moveaxis(dx, -1, 1), x.grad.numpy())
    close(params, {"scale": there.weight.grad.numpy(), "bias": there.bias.grad.numpy()})


def test_loads_linens_variables_and_equals_it(key):
    x = normal(0, 3, 4, 5, 4)
    ours, theirs = nn.BatchNorm(momentum=0.9), linen.BatchNorm(momentum=0.9, use_running_average=False)
    created = jax.jit(lambda: ours.init(key, x, train=True))()
    expected = jax.jit(theirs.init)(key, x)
    assert jax.tree.map(jnp.shape, created) == jax.tree.map(jnp.shape, expected)
    close(created, expected, 0)

    @jax.jit
    def run(state):
        return (
            ours.apply(state, x, train=True, mutable=["batch_stats"]),
            theirs.apply(state, x, mutable=["batch_stats"]),
        )

    close(*run(variables(4)))


@pytest.mark.parametrize(
    ("eps", "expected"),
    [
        pytest.param(0.0, [-1.3416408, -0.4472136, 0.4472136, 1.3416408], id="002-D13a"),
        pytest.param(1e-5, [-1.34163542, -0.44721181, 0.44721181, 1.34163542], id="004a-7.16b"),
    ],
)
def test_worked_numbers(eps, expected):
    x = jnp.arange(1.0, 5.0)[:, None]
    stats = {"batch_stats": {"mean": np.zeros(1), "var": np.ones(1)}}
    layer = nn.BatchNorm(eps=eps, use_scale=False, use_bias=False)
    y, _ = jax.jit(lambda x: layer.apply(stats, x, train=True, mutable=["batch_stats"]))(x)
    np.testing.assert_allclose(y[:, 0], expected, rtol=2e-7)


def test_scale_and_bias_are_the_deviation_and_the_mean_of_the_output():  # 000-G13
    state = {
        "params": {"scale": jnp.array([2.0]), "bias": jnp.array([0.5])},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
    }
    x = jnp.arange(1.0, 6.0)[:, None]
    layer = nn.BatchNorm(eps=0.0)
    y, _ = jax.jit(lambda x: layer.apply(state, x, train=True, mutable=["batch_stats"]))(x)
    y = np.asarray(y)
    np.testing.assert_allclose([y.mean(), y.std()], [0.5, 2.0], rtol=1e-6)


def test_running_statistics_by_both_conventions():  # 004a-12n
    batches = [normal(i, 5, 3) * (i + 1) for i in range(3)]
    results = {}
    start = {"params": variables(3)["params"], "batch_stats": {"mean": np.zeros(3), "var": np.ones(3)}}
    for convention, momentum in (("decay", 0.9), ("rate", 0.1), ("rate", 0.9)):
        layer, state = nn.BatchNorm(momentum=momentum, momentum_convention=convention), start
        update = jax.jit(lambda s, x, layer=layer: layer.apply(s, x, train=True, mutable=["batch_stats"])[1])
        for x in batches:
            state = state | update(state, x)
        results[convention, momentum] = state
    close(results["decay", 0.9], results["rate", 0.1], 1e-6)
    for momentum, kept in ((0.1, 0.9), (0.9, 0.1)):
        mean, var = np.zeros(3), np.ones(3)
        for x in np.float64(batches):
            mean, var = kept * mean + (1 - kept) * x.mean(0), kept * var + (1 - kept) * x.var(0)
        close(results["rate", momentum]["batch_stats"], {"mean": mean, "var": var})

    state = results["decay", 0.9]
    evaluate = jax.jit(lambda x: nn.BatchNorm().apply(state, x, train=False))
    close(evaluate(batches[0])[:1], evaluate(batches[0][:1]), 1e-6)
    with pytest.raises(Exception, match="batch_stats"):
        nn.BatchNorm().apply(state, batches[0], train=True)


def test_a_masked_batch_equals_the_sliced_one():
    x, weight = 1e3 + normal(0, 6, 2, 3, 4), normal(1, 6, 2, 3, 4)
    mask = np.array([True, False, True, True, False, True])
    x[~mask] = np.nan
    weight[~mask] = 0
    run = training(nn.BatchNorm(unbiased_running_var=True))
    y, stats, params, dx = run(variables(4), x, weight, mask=mask)
    expected = run(variables(4), x[mask], weight[mask])
    close((y[mask], stats, params, dx[mask]), expected, 2e-5)
    assert not y[~mask].any()
    assert not dx[~mask].any()

    # Nothing valid: nothing learned, nothing NaN.
    y, stats, params, dx = run(variables(4), x, weight, mask=np.zeros(6, bool))
    close(stats, variables(4)["batch_stats"], 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((y, params, dx)))


def test_masked_steps_of_sequences_and_evaluation():
    x, mask = normal(0, 3, 4, 5), np.arange(4) < np.array([[4], [1], [3]])
    x[~mask] = np.nan
    layer = nn.BatchNorm(momentum=0.0)

    @jax.jit
    def run(state):
        y, new = layer.apply(state, x, train=True, mask=mask, mutable=["batch_stats"])
        masked = jax.grad(lambda s: layer.apply(s, x, train=False, mask=mask).sum())(state)
        sliced = jax.grad(lambda s: layer.apply(s, x[mask], train=False).sum())(state)
        return y, new["batch_stats"], masked, sliced

    y, stats, masked, sliced = run(variables(5))
    close(stats, {"mean": x[mask].mean(0), "var": x[mask].var(0)})
    assert not y[~mask].any()
    close(masked, sliced)


@pytest.mark.parametrize(
    ("mapped", "masked"),
    [
        ("vmap", True),
        pytest.param("vmap", False, marks=pytest.mark.slow),
        pytest.param("pmap", True, marks=pytest.mark.slow),
    ],
)
def test_a_spread_batch_equals_the_whole_one(mapped, masked):
    x, weight = 5 + normal(0, 2, 4, 3), normal(1, 2, 4, 3)
    mask = (np.array([[True, True, True, False], [True, False, False, False]]),) if masked else ()
    layer = nn.BatchNorm(axis_name="devices", unbiased_running_var=True)
    jax.eval_shape(lambda: layer.init(jax.random.key(0), x[0], train=True))  # no axis yet

    def one(x, weight, mask=None):
        return training(layer)(variables(3), x, weight, mask=mask)

    spread = {"vmap": jax.vmap, "pmap": jax.pmap}[mapped]
    y, stats, params, dx = spread(one, axis_name="devices")(x, weight, *mask)
    joined = [a.reshape(8, *a.shape[2:]) for a in (x, weight, *mask)]
    whole = training(nn.BatchNorm(unbiased_running_var=True))
    expected = whole(variables(3), *joined[:2], mask=joined[2] if masked else None)
    params = jax.tree.map(lambda a: a.sum(0), params)
    first, second = (jax.tree.map(lambda a, i=i: a[i], stats) for i in range(2))
    close(first, second, 0)
    close((y.reshape(8, 3), first, params, dx.reshape(8, 3)), expected, 2e-5)


def test_conditional_tables_equal_a_batch_norm_for_each_class(key):
    x, weight = normal(0, 4, 3, 3, 5), normal(1, 4, 3, 3, 5)
    labels = np.array([2, 0, 2, 1])
    layer = nn.ConditionalBatchNorm(3)
    state = jax.jit(lambda: layer.init(key, x, labels, train=True))()
    close(state["params"], {"scale": np.ones((3, 5)), "bias": np.zeros((3, 5))}, 0)
    params = {"scale": normal(2, 3, 5), "bias": normal(3, 3, 5)}
    y, stats, grads, dx = training(layer)(state | {"params": params}, x, weight, labels)

    plain = nn.BatchNorm(use_scale=False, use_bias=False)

    def by_hand(params, x):
        y, new = plain.apply({"batch_stats": state["batch_stats"]}, x, train=True, mutable=["batch_stats"])
        which = np.eye(3, dtype=np.float32)[labels]
        scale, bias = ((which @ params[name])[:, None, None] for name in ("scale", "bias"))
        return y * scale + bias, new["batch_stats"]

    @jax.jit
    def expected(params, x):
        y, pullback, stats = jax.vjp(by_hand, params, x, has_aux=True)
        return y, stats, *pullback(weight)

    close((y, stats, grads, dx), expected(params, x))


def test_conditional_on_a_vector(key):
    x, condition = normal(0, 4, 6, 5), normal(1, 4, 2)
    layer, mask = nn.ConditionalBatchNorm(), np.array([True, True, False, True])

    @jax.jit
    def run():
        state = layer.init(key, x, condition, train=True)
        masked = layer.apply(state, x, condition, train=True, mask=mask, mutable=["batch_stats"])
        return state, layer.apply(state, x, condition, train=False), *masked

    state, y, masked, new = run()
    w_s, w_b = np.float64(state["params"]["scale"]), np.float64(state["params"]["bias"])
    expected = x / np.sqrt(1 + 1e-5) * (1 + condition @ w_s)[:, None] + (condition @ w_b)[:, None]
    close(y, expected)
    close(new["batch_stats"]["mean"], 0.01 * x[mask].mean((0, 1)))
    assert not masked[2].any()


@pytest.mark.parametrize("size", [None, 2, 3])
def test_minibatch_stddev_equals_its_definition(size):
    x = normal(0, 6, 2, 3, 4)
    y = jax.jit(nn.minibatch_stddev, static_argnums=1)(x, size)
    assert y.shape == (6, 2, 3, 5)
    np.testing.assert_array_equal(y[..., :-1], x)
    size = size or 6
    for i in range(6):
        group = np.float64(x[i % (6 // size) :: 6 // size])
        expected = np.sqrt(group.var(0) + 1e-8).mean()
        np.testing.assert_allclose(y[i, ..., -1], np.full((2, 3), expected), rtol=1e-5)


def test_minibatch_stddev_has_its_closed_gradient_also_for_equal_examples():
    def gradient(x):
        return jax.grad(lambda x: nn.minibatch_stddev(x)[:, 3].sum())(x)

    x = normal(0, 4, 3)
    got, equal = jax.jit(lambda: (gradient(x), gradient(jnp.ones((4, 3)))))()
    # Four examples show the mean over three features of d std / d x = (x - mean) / (4 std).
    close(got, (np.float64(x) - x.mean(0)) / x.std(0) / 3)
    close(equal, np.zeros((4, 3)), 0)


IMAGES, START = jnp.ones((2, 3, 3, 4)), {"train": True}


@pytest.mark.parametrize(
    ("layer", "args", "kwargs", "error", "match"),
    [
        pytest.param(
            nn.BatchNorm(), (IMAGES.astype(int),), START, TypeError, "x must be floating", id="dtype"
        ),
        pytest.param(
            nn.BatchNorm(), (jnp.ones(3),), START, ValueError, "x must have a batch axis", id="rank"
        ),
        pytest.param(
            nn.BatchNorm(momentum=1.1),
            (IMAGES,),
            START,
            ValueError,
            "momentum must be between",
            id="momentum",
        ),
        pytest.param(
            nn.BatchNorm(momentum_convention="torch"),
            (IMAGES,),
            START,
            ValueError,
            "momentum_convention must be one of",
            id="convention",
        ),
        pytest.param(
            nn.BatchNorm(eps=-1.0),
            (IMAGES,),
            START,
            ValueError,
            "eps must be finite and at least 0",
            id="eps",
        ),
        pytest.param(
            nn.BatchNorm(),
            (IMAGES,),
            {"train": True, "mask": jnp.ones(2)},
            TypeError,
            "mask must be bool",
            id="mask-dtype",
        ),
        pytest.param(
            nn.BatchNorm(),
            (IMAGES,),
            {"train": True, "mask": jnp.ones(3, bool)},
            ValueError,
            "mask must have the shape of leading axes",
            id="mask-shape",
        ),
        pytest.param(nn.BatchNorm(), (IMAGES,), {}, TypeError, "train", id="train"),
        pytest.param(
            nn.ConditionalBatchNorm(0),
            (IMAGES, jnp.ones(2, int)),
            START,
            ValueError,
            "num_classes must be at least 1",
            id="classes",
        ),
        pytest.param(
            nn.ConditionalBatchNorm(3),
            (IMAGES, jnp.ones(2)),
            START,
            TypeError,
            "condition must be integers",
            id="class",
        ),
        pytest.param(
            nn.ConditionalBatchNorm(),
            (IMAGES, jnp.ones(2, int)),
            START,
            TypeError,
            "condition must be floating",
            id="vector",
        ),
        pytest.param(
            nn.ConditionalBatchNorm(),
            (IMAGES, jnp.ones((3, 1))),
            START,
            ValueError,
            "condition and x must agree",
            id="condition-batch",
        ),
    ],
)
def test_bad_input(layer, args, kwargs, error, match, key):
    with pytest.raises(error, match=match):
        layer.init(key, *args, **kwargs)


def test_one_value_has_no_unbiased_variance(key):
    layer = nn.BatchNorm(unbiased_running_var=True)
    jax.eval_shape(lambda: layer.init(key, jnp.ones((1, 2)), train=True))
    with pytest.raises(ValueError, match="at least 2 values per channel"):
        layer.apply(variables(2), jnp.ones((1, 2)), train=True, mutable=["batch_stats"])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda: nn.minibatch_stddev(jnp.ones((4, 2)), 3), ValueError, "must be a multiple", id="divides"
        ),
        pytest.param(lambda: nn.minibatch_stddev(jnp.ones(4)), ValueError, "batch axis", id="rank"),
        pytest.param(lambda: nn.minibatch_stddev(jnp.ones((4, 2), int)), TypeError, "floating", id="dtype"),
        pytest.param(
            lambda: nn.minibatch_stddev(jnp.ones((4, 2)), eps=0.0),
            ValueError,
            "eps must be positive",
            id="eps",
        ),
    ],
)
def test_bad_input_of_minibatch_stddev(call, error, match):
    with pytest.raises(error, match=match):
        call()

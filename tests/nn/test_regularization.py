"""Noise while training: worked masks, shares, means, and what evaluation does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn


def dropped(rate, x, seed):
    return nn.Dropout(rate).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


@pytest.fixture(scope="module")
def draws():
    """Dropout of (1 ... 5) at rate 0.2, of (1 ... 6) at 1/3, and of 1000 ones at 0.5, by seeds."""

    def counted(size):
        return np.arange(1.0, size + 1, dtype=np.float32)

    def everything(seed):
        ones = jnp.ones(1000)
        return dropped(0.2, counted(5), seed), dropped(1 / 3, counted(6), seed), dropped(0.5, ones, seed)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(everything))(np.arange(4000)))


@pytest.mark.parametrize(
    ("which", "mask", "expected"),
    [
        pytest.param(0, (1, 0, 1, 1, 1), (1.25, 0, 3.75, 5, 6.25), id="000-G4"),
        pytest.param(1, (1, 0, 1, 1, 0, 1), (1.5, 0, 4.5, 6, 0, 9), id="001-G8"),
    ],
)
def test_dropout_of_a_given_mask(which, mask, expected, draws):
    hits = draws[which][((draws[which] != 0) == np.array(mask, bool)[None]).all(1)]
    assert len(hits) > 0
    np.testing.assert_allclose(hits[0], expected, rtol=1e-6)


def test_dropout_probability_of_exactly_one(draws):  # 000-G4, 002-G26
    share = ((draws[0] == 0).sum(1) == 1).mean()
    assert abs(share - 0.4096) < 5 * np.sqrt(0.4096 * 0.5904 / 4000)
    relative = draws[0] / np.arange(1, 6)
    np.testing.assert_allclose(relative.mean(), 1.0, atol=5 * 0.5 / np.sqrt(20000))
    np.testing.assert_allclose(relative.max(), 1.25, rtol=1e-6)


def test_dropout_keeps_half_of_a_thousand(draws):  # 000-G5
    kept = (draws[2] != 0).sum(1)
    assert (abs(kept - 500) < 5 * 15.81).all()
    assert kept.std() == pytest.approx(15.81, rel=0.06)


def test_dropout_is_the_identity_at_evaluation_and_at_rate_zero():
    x = jnp.arange(5.0)
    np.testing.assert_array_equal(nn.Dropout(0.9).apply({}, x, train=False), x)
    np.testing.assert_array_equal(nn.Dropout(0.0).apply({}, x, train=True), x)


def test_dropout_gradient_is_the_scaled_mask():
    x = np.ones(50, np.float32)
    y, gradient = jax.jit(lambda x: (dropped(0.5, x, 3), jax.grad(lambda x: dropped(0.5, x, 3).sum())(x)))(x)
    np.testing.assert_array_equal(gradient, y)


def test_dropout_needs_train_and_a_rate_below_one():
    with pytest.raises(TypeError, match="train"):
        nn.Dropout(0.5).apply({}, jnp.ones(2))
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match="rate must be at least 0 and below 1"):
            nn.Dropout(rate).apply({}, jnp.ones(2), train=False)


@pytest.mark.parametrize(
    ("shape", "broadcast_dims", "alike"),
    [
        pytest.param((6, 4, 4, 5), (1, 2), (1, 2), id="maps"),
        pytest.param((6, 9, 5), (1,), (1,), id="time"),
        pytest.param((6, 9, 5), (-1,), (2,), id="from-the-end"),
    ],
)
def test_dropout_with_one_draw_along_axes(shape, broadcast_dims, alike, key):
    x = np.ones(shape, np.float32)

    @jax.jit
    def both(x):
        ours = nn.Dropout(0.5, broadcast_dims).apply({}, x, train=True, rngs={"dropout": key})
        theirs = linen.Dropout(0.5, broadcast_dims).apply({}, x, deterministic=False, rngs={"dropout": key})
        return ours, theirs

    y, theirs = map(np.asarray, both(x))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y.max(alike), y.min(alike))
    np.testing.assert_array_equal(y, theirs)  # the same stream, so the same draws


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        pytest.param(False, (0.8, 1.6, 2.4, 3.2, 4.0), id="000-G4-evaluation"),
        pytest.param(True, (1, 0, 3, 4, 5), id="000-G4-training"),
    ],
)
def test_classical_dropout(train, expected):
    x = np.arange(1.0, 6.0, dtype=np.float32)
    draw = jax.jit(jax.vmap(lambda key: nn.classical_dropout(key, x, 0.2, train=train)))
    draws = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    hits = (abs(draws - np.array(expected)[None]) < 1e-6).all(1)
    assert hits.all() if not train else 0 < hits.mean() < 0.25  # 0.8^4 0.2 = 0.082
    np.testing.assert_allclose(draws.mean(0), 0.8 * x, rtol=0.13)  # 5 deviations of a mean of 400


@pytest.mark.parametrize(
    ("layer", "x_shape", "kernel_shape"),
    [
        pytest.param(nn.Dense(6), (3, 4), (4, 6), id="Dense"),
        pytest.param(nn.Conv(5, 3), (2, 5, 5, 2), (3, 3, 2, 5), id="Conv", marks=pytest.mark.slow),
    ],
)
def test_drop_connect_drops_and_scales_weights(layer, x_shape, kernel_shape):
    rng = np.random.default_rng(0)
    x, kernel, bias = (
        rng.normal(size=s).astype(np.float32) for s in (x_shape, kernel_shape, kernel_shape[-1:])
    )
    params = {"kernel": kernel, "bias": bias}
    wrapper = nn.DropConnect(layer, 0.25)

    def wrapped(params, train):
        rngs = {"dropout": jax.random.key(0)}
        return wrapper.apply({"params": {"layer": params}}, x, train=train, rngs=rngs)

    def plain(params):
        return layer.apply({"params": params}, x)

    @jax.jit
    def everything(params):
        y, pullback = jax.vjp(plain, params)
        dropped, pullback_dropped = jax.vjp(lambda p: wrapped(p, True), params)
        (slopes,), (slopes_dropped,) = pullback(jnp.ones_like(y)), pullback_dropped(jnp.ones_like(y))
        # The gradient with respect to the kernel is that of a plain layer times m / (1 - rate).
        scale = slopes_dropped["kernel"] / slopes["kernel"]
        expected = plain({**params, "kernel": params["kernel"] * jnp.round(3 * scale) / 3})
        return y, wrapped(params, False), dropped, expected, scale, slopes["bias"], slopes_dropped["bias"]

    y, evaluated, dropped, expected, scale, bias_slope, bias_slope_dropped = everything(params)
    np.testing.assert_allclose(evaluated, y, rtol=1e-6)
    np.testing.assert_allclose(scale, np.where(scale > 0.5, 4 / 3, 0), rtol=1e-4, atol=1e-6)
    assert 0 < (np.asarray(scale) == 0).mean() < 0.6
    np.testing.assert_allclose(dropped, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bias_slope_dropped, bias_slope, rtol=1e-6)  # biases are left alone


def test_drop_connect_share_and_mean():
    x = np.eye(40, dtype=np.float32)
    wrapper = nn.DropConnect(nn.Dense(30, use_bias=False, kernel_init=jax.nn.initializers.ones), 0.3)
    variables = {"params": {"layer": {"kernel": jnp.ones((40, 30))}}}
    draw = jax.jit(
        lambda seed: wrapper.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})
    )
    draws = np.stack([draw(seed) for seed in range(20)])
    deviation = np.sqrt(0.3 * 0.7 / draws.size)
    assert abs((draws == 0).mean() - 0.3) < 5 * deviation
    np.testing.assert_allclose(draws[draws > 0], 1 / 0.7, rtol=1e-6)
    assert (draws[0] != draws[1]).any()


class InsideAParent(linen.Module):
    wrapped: bool

    @linen.compact
    def __call__(self, x, *, train):
        hidden = nn.Sequential([nn.Dense(4), nn.Dropout(0.5)])
        if self.wrapped:
            return nn.DropConnect(hidden, 0.5)(x, train=train)
        return hidden(x, train=train)


def test_drop_connect_keeps_the_parents_parameters_and_hands_on_train(key):
    x = jnp.ones((20, 3))

    plain, wrapped = (
        jax.eval_shape(lambda w=w: InsideAParent(w).init(key, x, train=False)) for w in (False, True)
    )
    assert plain == wrapped
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), wrapped)
    apply = jax.jit(lambda v: InsideAParent(True).apply(v, x, train=True, rngs={"dropout": key}))
    y = np.asarray(apply(variables))
    # One draw of weights for all rows, dropout of values within them.
    assert ((y == 0) | (y == y.max(0, keepdims=True)) | (y == y.min(0, keepdims=True))).all()
    assert (y == 0).any()


def test_drop_all_drops_inputs_and_connections():
    x = np.ones((2, 50), np.float32)
    kernel = np.ones((50, 1), np.float32)
    layer = nn.DropAll(nn.Dense(1, use_bias=False), unit_rate=0.5, connection_rate=0.2)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, train=False))
    assert jax.tree.map(lambda s: s.shape, shapes) == {"params": {"layer": {"kernel": (50, 1)}}}
    variables = {"params": {"layer": {"kernel": kernel}}}
    np.testing.assert_allclose(layer.apply(variables, x, train=False), [[50], [50]])
    draw = jax.jit(lambda seed: layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)}))
    draws = np.stack([draw(seed) for seed in range(300)])[..., 0]  # [seed, row]
    # A sum of 50 terms that are 2.5 with probability 0.4: both have their say in the moments, and the weights'
    # draw, which rows share, makes rows covary: 50 (0.8^-1 - 1) = 12.5.
    variance, covariance = 50 * (1 / 0.4 - 1), 50 * (1 / 0.8 - 1)
    assert abs(draws.mean() - 50) < 5 * np.sqrt((variance + covariance) / 2 / 300)
    np.testing.assert_allclose(draws.var(0).mean(), variance, rtol=0.3)
    np.testing.assert_allclose(np.cov(draws.T)[0, 1], covariance, rtol=0.7)


def test_drop_path_keeps_or_drops_whole_examples(key):
    x = np.random.default_rng(0).normal(size=(4000, 2, 3)).astype(np.float32)
    layer = nn.DropPath(0.2)
    y = np.asarray(layer.apply({}, x, train=True, rngs={"dropout": key}))
    dropped = (y == 0).all((1, 2))
    np.testing.assert_allclose(y[~dropped], x[~dropped] / 0.8, rtol=1e-6)
    assert abs(dropped.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 4000)
    np.testing.assert_array_equal(layer.apply({}, x, train=False), x)


def test_gaussian_noise_has_its_moments_and_leaves_evaluation_alone(key):  # 002-1947
    x = np.linspace(-2, 2, 20000, dtype=np.float32).reshape(100, 200)
    layer = nn.GaussianNoise(0.3)
    noise = np.asarray(layer.apply({}, x, train=True, rngs={"dropout": key})) - x
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.3, rel=5 / np.sqrt(2 * noise.size))
    assert abs(np.corrcoef(noise.ravel(), x.ravel())[0, 1]) < 5 / np.sqrt(noise.size)
    np.testing.assert_array_equal(layer.apply({}, x, train=False), x)
    np.testing.assert_array_equal(nn.GaussianNoise(0.0).apply({}, x, train=True), x)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_noise_of_half_precision_is_that_of_float32_rounded(dtype, key):
    """Drawn in bfloat16 it would be one of 128 numbers, none beyond 2.9 deviations, with a mean of -0.01."""
    x = jnp.linspace(-2, 2, 40_000).astype(dtype)
    layer = nn.GaussianNoise(0.3)

    @jax.jit
    def both(x):
        wide = layer.apply({}, x.astype(jnp.float32), train=True, rngs={"dropout": key})
        return layer.apply({}, x, train=True, rngs={"dropout": key}), wide.astype(dtype)

    got, expected = both(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))
    noise = (got.astype(np.float32) - np.float32(x)) / 0.3
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert np.abs(noise).max() > 3.5
    params = {"kernel": x}
    noisy = [
        nn.weight_noise(key, jax.tree.map(lambda p, d=d: p.astype(d), params), 0.3)
        for d in (dtype, jnp.float32)
    ]
    narrow, wide = (tree["kernel"] for tree in noisy)
    assert narrow.dtype == dtype
    np.testing.assert_array_equal(narrow.astype(np.float32), wide.astype(dtype).astype(np.float32))


@pytest.mark.slow
def test_input_noise_is_a_jacobian_penalty(key):
    """For a linear map exactly: the mean half squared error grows by stddev^2 / 2 |W|^2."""
    w = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    x, target = np.array([1.0, -0.5, 2.0], np.float32), np.array([0.3, 0.2], np.float32)
    many = np.broadcast_to(x, (200_000, 3))
    noisy = np.asarray(nn.GaussianNoise(0.4).apply({}, many, train=True, rngs={"dropout": key}))
    errors = 0.5 * ((noisy @ w - target) ** 2).sum(1)
    expected = 0.5 * ((x @ w - target) ** 2).sum() + 0.08 * (w**2).sum()
    assert abs(errors.mean() - expected) < 5 * errors.std() / np.sqrt(len(errors))


def test_weight_noise(key):
    params = {"a": {"kernel": np.full((300, 40), 2, np.float32), "bias": np.zeros(500, np.float32)}}
    params["b"] = params["a"]["bias"]
    noisy = jax.jit(jax.vmap(lambda stddev: nn.weight_noise(key, params, stddev)))(np.float32([0.1, 0]))
    noise = jax.tree.map(lambda a, b: np.asarray(a[0]) - b, noisy, params)
    kernel = noise["a"]["kernel"]
    assert abs(kernel.mean()) < 5 * 0.1 / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(0.1, rel=5 / np.sqrt(2 * kernel.size))
    assert abs(np.corrcoef(noise["a"]["bias"], noise["b"])[0, 1]) < 5 / np.sqrt(500)  # a draw of its own
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), noisy, params)


RANDOM = {
    "Dropout": nn.Dropout(0.5),
    "DropPath": nn.DropPath(0.5),
    "GaussianNoise": nn.GaussianNoise(0.1),
    "DropConnect": nn.DropConnect(nn.Dense(4), 0.5),
    "DropAll": nn.DropAll(nn.Dense(4), 0.5, 0.5),
}


def run(name, x, key):
    params = {"layer": {"kernel": jnp.ones((4, 4), x.dtype)}} if name in ("DropConnect", "DropAll") else {}
    if params:
        params["layer"]["bias"] = jnp.zeros(4, x.dtype)
    return RANDOM[name].apply({"params": params}, x, train=True, rngs={"dropout": key})


@pytest.fixture(scope="module")
def drawn():
    """name -> three draws by vmap."""

    everything = jax.jit(jax.vmap(lambda key: {name: run(name, jnp.ones((8, 4)), key) for name in RANDOM}))
    return everything(jax.random.split(jax.random.key(0), 3))


@pytest.mark.parametrize("name", RANDOM)
def test_draws_depend_on_the_key_alone(name, drawn):
    three, key = np.asarray(drawn[name]), jax.random.split(jax.random.key(0), 3)[1]
    np.testing.assert_allclose(three[1], run(name, jnp.ones((8, 4)), key), rtol=1e-6)
    assert (three[0] != three[1]).any()
    half = jax.eval_shape(lambda: run(name, jnp.ones((8, 4), jnp.bfloat16), key))
    assert half.dtype == jnp.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RANDOM if name != "GaussianNoise"])
def test_masks_are_the_same_in_any_dtype(name, drawn):  # and their ones and twos exact
    half = run(name, jnp.ones((8, 4), jnp.bfloat16), jax.random.split(jax.random.key(0), 3)[1])
    np.testing.assert_array_equal(half.astype(np.float32), drawn[name][1])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda x: nn.DropPath(1.0).apply({}, x, train=False), ValueError, "rate must be", id="path"
        ),
        pytest.param(
            lambda x: nn.DropPath(0.1).apply({}, x[0], train=False),
            ValueError,
            "first axis",
            id="path-scalar",
        ),
        pytest.param(
            lambda x: nn.DropConnect(nn.Dense(2), -0.1).init(jax.random.key(0), x, train=False),
            ValueError,
            "rate must be at least 0 and below 1",
            id="connect",
        ),
        pytest.param(
            lambda x: nn.DropAll(nn.Dense(2), 0.1, 1.0).init(jax.random.key(0), x, train=False),
            ValueError,
            "connection_rate must be",
            id="all",
        ),
        pytest.param(
            lambda x: nn.Dropout(0.1, (1,)).apply({}, x, train=False), ValueError, "broadcast_dims", id="dims"
        ),
        pytest.param(
            lambda x: nn.GaussianNoise(-1.0).apply({}, x, train=False), ValueError, "stddev", id="noise"
        ),
        pytest.param(
            lambda x: nn.classical_dropout(None, x, 0.1, train=True), ValueError, "key must be", id="no-key"
        ),
        pytest.param(
            lambda x: nn.classical_dropout(None, x, 1.0, train=False),
            ValueError,
            "rate must be",
            id="classical",
        ),
        pytest.param(
            lambda x: nn.weight_noise(jax.random.key(0), x, -0.1), ValueError, "stddev", id="weight"
        ),
        pytest.param(
            lambda x: nn.weight_noise(jax.random.key(0), np.arange(3), 0.1),
            TypeError,
            "params must",
            id="int",
        ),
        pytest.param(
            lambda x: nn.GaussianNoise(0.1).apply({}, np.arange(3), train=False),
            TypeError,
            "floating",
            id="int-x",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call(np.ones(3, np.float32))

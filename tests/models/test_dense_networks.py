"""Maxout, highway, radial, polynomial, modular and mixed networks: closed forms, transcriptions, what each is for."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import data, losses, nn, optim
from jaxdl.models.competitive import KMeans
from jaxdl.models.dense import (
    MLP,
    HighwayNetwork,
    MaxoutNetwork,
    MixtureOfExperts,
    ModularNetwork,
    PolynomialNetwork,
    RBFNetwork,
    hidden_layer_heuristic,
)
from jaxdl.models.dense.distances import squared_distances

XOR = data.logic_gates()
SIGNS = {"x": jnp.asarray(2 * XOR["x"] - 1), "y": jnp.asarray(XOR["xor"])}  # inputs of -1 and 1


# Compiled without what would make it fast: each program runs once.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick(function, *args):
    """The result of a program that runs once."""
    return jax.jit(function, compiler_options=QUICK)(*args)


def applied(model, variables, *xs, **options):
    """`model.apply` as one program."""
    return quick(lambda variables, xs: model.apply(variables, *xs, **options), variables, xs)


def started(model, key, *xs):
    """Fresh parameters."""
    return quick(lambda key: model.init(key, *xs, train=False)["params"], key)


def descend(loss, params, tx, num_steps):
    """Full-batch updates in one program; the last parameters and the losses."""

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), values = quick(
        lambda params: jax.lax.scan(step, (params, tx.init(params)), length=num_steps), params
    )
    return params, values


def randomized(model, *xs, seed=0):
    """Parameters with nothing at 0."""
    shapes = jax.eval_shape(lambda key: model.init(key, *xs, train=False), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes)


# Maxout


def test_maxout_of_one_piece_is_a_linear_net(key):
    x = jax.random.normal(key, (7, 3))
    model = MaxoutNetwork((5, 4), 2, num_pieces=1)
    variables = randomized(model, x)
    first, second, last = (variables["params"][name] for name in ("Maxout_0", "Maxout_1", "Dense_0"))
    y = x
    for layer in (first["Dense_0"], second["Dense_0"], last):
        y = y @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(applied(model, variables, x, train=False), y, rtol=1e-5, atol=1e-5)


def test_two_maxout_units_are_xor_and_any_difference_of_convex_functions():
    """|x + y| - |x - y| is 2 on the diagonal corners and -2 on the others; each magnitude is one unit of two pieces."""
    model = MaxoutNetwork((2,), 1)
    kernel = jnp.array([[1.0, -1, 1, -1], [1, -1, -1, 1]])
    params = {
        "Maxout_0": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(4)}},
        "Dense_0": {"kernel": jnp.array([[1.0], [-1]]), "bias": jnp.zeros(1)},
    }
    y = applied(model, {"params": params}, SIGNS["x"], train=False)
    np.testing.assert_array_equal(y[:, 0], np.where(XOR["xor"][:, 0] == 1, -2, 2))

    def loss(params):
        logits = model.apply({"params": params}, SIGNS["x"], train=True)
        return jnp.mean(losses.sigmoid_binary_cross_entropy(logits, SIGNS["y"]))

    params, values = descend(loss, started(model, jax.random.key(0), SIGNS["x"]), optim.adam(0.05), 300)
    assert values[-1] < 0.01


# Highway


def test_highway_with_closed_gates_passes_and_with_open_gates_is_an_mlp(key):
    x = jax.random.normal(key, (6, 3))
    model = HighwayNetwork(5, 2, 4, nn.tanh)
    params = randomized(model, x)["params"]

    def at(gate, x=x):
        gates = {
            name: {"kernel": jnp.zeros_like(layer["kernel"]), "bias": jnp.full_like(layer["bias"], gate)}
            for name, layer in params.items()
            if name.startswith("gate")
        }
        return applied(model, {"params": {**params, **gates}}, x, train=False)

    def mlp(*names):
        layers = {f"Dense_{i}": params[name] for i, name in enumerate(names)}
        return MLP((5,) * (len(names) - 1), 4, nn.tanh).apply({"params": layers}, x, train=False)

    np.testing.assert_allclose(at(-200.0), mlp("input", "output"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(at(200.0), mlp("input", "layer_0", "layer_1", "output"), rtol=1e-5, atol=1e-6)
    start = started(model, key, x)
    np.testing.assert_array_equal(start["gate_1"]["bias"], np.full(5, -2.0))


def test_highway_learns_at_a_depth_where_a_plain_net_does_not(key):
    depth, width, x, y = 10, 8, SIGNS["x"], SIGNS["y"]
    nets = {
        "highway": HighwayNetwork(width, depth, 1, nn.sigmoid),
        "plain": MLP((width,) * (depth + 1), 1, nn.sigmoid),
    }
    last = {}
    for name, model in nets.items():

        def loss(params, model=model):
            return jnp.mean(
                losses.sigmoid_binary_cross_entropy(model.apply({"params": params}, x, train=True), y)
            )

        last[name] = descend(loss, started(model, key, x), optim.adam(0.02), 300)[1][-1]
    assert last["highway"] < 0.02
    assert last["plain"] > 0.65  # log 2 is the coin


# Radial functions


def test_radial_layer_is_the_equation(key):
    x = jax.random.normal(key, (6, 2, 2)) + 3
    model = RBFNetwork(5, 2)
    params = randomized(model, x)["params"]
    rows, centers = np.float64(x).reshape(6, 4), np.float64(params["centers"])
    squares = ((rows[:, None] - centers[None]) ** 2).sum(-1)
    phi = np.exp(-squares / (2 * np.exp(np.float64(params["log_width"])) ** 2))
    np.testing.assert_allclose(
        applied(model, {"params": params}, x, method="hidden"), phi, rtol=1e-4, atol=1e-6
    )
    expected = phi @ np.float64(params["output"]["kernel"]) + np.float64(params["output"]["bias"])
    np.testing.assert_allclose(
        applied(model, {"params": params}, x, train=False), expected, rtol=1e-4, atol=1e-5
    )


def test_with_a_centre_on_every_point_it_interpolates():
    x = np.linspace(-3, 3, 25, dtype=np.float32)[:, None]
    y = np.float32(np.sin(2 * x) + 0.3 * x)
    model = RBFNetwork(25, 1)
    variables = jax.jit(lambda: model.fit(x, y, x, widths=0.5, l2=0.0))()
    np.testing.assert_allclose(applied(model, variables, x, train=False), y, atol=2e-3)
    between = x[:-1] + 0.125
    np.testing.assert_allclose(
        applied(model, variables, between, train=False), np.sin(2 * between) + 0.3 * between, atol=0.02
    )


def test_fit_is_ridge_on_the_hidden_values(key):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = jax.random.normal(key, (40, 3)), jax.random.normal(jax.random.key(1), (40, 2))
    model = RBFNetwork(6, 2)
    variables = quick(lambda x, y: model.fit(x, y, x[:6], l2=0.01), x, y)
    apart = np.sort(((np.asarray(x[:6])[:, None] - np.asarray(x[:6])[None]) ** 2).sum(-1), axis=1)
    np.testing.assert_allclose(
        np.exp(variables["params"]["log_width"]), np.sqrt(apart[:, 1:3].mean(1)), rtol=1e-5
    )
    phi = np.float64(applied(model, variables, x, method="hidden"))
    oracle = linear_model.Ridge(alpha=0.01 * 40).fit(phi, y)
    np.testing.assert_allclose(variables["params"]["output"]["kernel"], oracle.coef_.T, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(variables["params"]["output"]["bias"], oracle.intercept_, rtol=1e-3, atol=1e-4)
    shapes = jax.eval_shape(lambda: model.init(key, x, train=False))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def test_centres_from_k_means_tell_rings_apart(key):
    """What no straight line does; the centres are the means of clusters, the rest is one least-squares problem."""
    angle = 2 * np.pi * np.arange(120) / 120
    radius = np.where(np.arange(120) % 2, 1.0, 2.5)
    rng = np.random.default_rng(0)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + 0.2 * rng.normal(size=(120, 2))
    x, t = np.float32(x), np.float32(np.where(radius > 2, 1, -1))[:, None]
    model = RBFNetwork(16, 1)

    def fit(key):
        return model.fit(x, t, KMeans(16).fit(x, key=key)["params"]["centers"])

    fitted = quick(fit, key)
    assert np.mean(np.sign(applied(model, fitted, x, train=False)) == t) > 0.97
    line = np.linalg.lstsq(np.c_[x, np.ones(120)], t, rcond=None)[0]
    assert np.mean(np.sign(np.c_[x, np.ones(120)] @ line) == t) < 0.7
    # Gradients move centres and widths further down.
    loss = lambda params: jnp.mean(jnp.square(model.apply({"params": params}, x, train=True) - t))  # noqa: E731
    _, values = descend(loss, fitted["params"], optim.adam(0.01), 50)
    assert values[-1] < 0.9 * values[0]


def test_squared_distances_far_from_0(key):
    x = jax.random.normal(key, (20, 3)) + 1000
    centers = jax.random.normal(jax.random.key(1), (7, 3)) + 1000
    expected = ((np.float64(x)[:, None] - np.float64(centers)) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(x, centers), expected, rtol=1e-3, atol=1e-5)


# Group method of data handling


def gmdh(x, t, held_x, held_t, num_layers, width):
    """In float64, pair by pair."""

    def terms(h, i, j):
        u, v = h[:, i], h[:, j]
        return np.stack([np.ones_like(u), u, v, u**2, u * v, v**2], axis=1)

    h, held, layers = np.float64(x), np.float64(held_x), []
    for _ in range(num_layers):
        tried = []
        for i, j in itertools.combinations(range(h.shape[1]), 2):
            a = np.linalg.lstsq(terms(h, i, j), t[:, 0], rcond=None)[0]
            tried.append((np.mean((terms(held, i, j) @ a - held_t[:, 0]) ** 2), i, j, a))
        tried = sorted(tried, key=lambda unit: unit[0])[:width]
        layers.append(tried)
        h, held = (np.stack([terms(z, i, j) @ a for _, i, j, a in tried], axis=1) for z in (h, held))
    return layers, held


def test_polynomial_network_against_float64():
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(90, 4)))
    t = np.float32(np.sin(x[:, :1]) * x[:, 1:2] + 0.5 * x[:, 2:3] + 0.1 * rng.normal(size=(90, 1)))
    model = PolynomialNetwork(3, 4)
    parts = x[:60], t[:60], x[60:], t[60:]
    variables = jax.jit(model.fit)(*parts)
    layers, held = gmdh(*parts, 3, 4)
    for i, layer in enumerate(layers):
        errors, *columns, coefficients = map(np.array, zip(*layer))
        assert (np.diff(errors) > 1e-5 * errors[0]).all(), "no ties to be broken by rounding"
        np.testing.assert_array_equal(variables["structure"][f"pairs_{i}"], np.stack(columns, axis=1))
        np.testing.assert_allclose(
            variables["params"][f"coefficients_{i}"], coefficients, rtol=0.02, atol=2e-3
        )
    depth = int(np.argmin([layer[0][0] for layer in layers]))
    assert variables["structure"]["depth"] == depth
    if depth == 2:
        np.testing.assert_allclose(
            applied(model, variables, x[60:], train=False)[:, 0], held[:, 0], atol=2e-3
        )
    shapes = jax.eval_shape(lambda key: model.init(key, x, train=False), jax.random.key(0))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    dtypes = lambda tree: jax.tree.map(lambda leaf: leaf.dtype, tree)  # noqa: E731
    assert dtypes(variables) == dtypes(shapes)


def test_polynomial_network_finds_the_two_inputs_of_ten_that_matter(key):
    x = jax.random.normal(key, (90, 10))
    t = (2 + x[:, 1] - 3 * x[:, 1] * x[:, 4] + jnp.square(x[:, 4]))[:, None]
    variables = jax.jit(PolynomialNetwork(1, 3).fit)(x[:60], t[:60], x[60:], t[60:])
    np.testing.assert_array_equal(variables["structure"]["pairs_0"][0], [1, 4])
    np.testing.assert_allclose(variables["params"]["coefficients_0"][0], [2, 1, 0, 0, -3, 1], atol=1e-5)


def test_layers_join_what_no_pair_of_inputs_says(key):
    """x0 x1 + x2^2: of any two inputs alone at least a third of its variance, 1 + 2, stays unexplained."""
    x = jax.random.normal(key, (600, 5))
    t = (x[:, 0] * x[:, 1] + jnp.square(x[:, 2]))[:, None]
    model = PolynomialNetwork(3, 6)
    variables = jax.jit(model.fit)(x[:300], t[:300], x[300:400], t[300:400])
    left = jnp.mean(jnp.square(applied(model, variables, x[400:], train=False) - t[400:])) / jnp.var(t)
    assert left < 0.05
    assert variables["structure"]["depth"] > 0


def test_layers_that_run_dry_are_refused():
    x = jnp.ones((4, 2))
    with pytest.raises(ValueError, match="num_layers must be at most 1 for 2 inputs"):
        PolynomialNetwork(2).init(jax.random.key(0), x, train=False)
    with pytest.raises(ValueError, match="number of inputs must be at least 2"):
        PolynomialNetwork(1).fit(x[:, :1], x[:, :1], x[:, :1], x[:, :1])


# Modules and experts


def test_modules_see_only_their_columns_and_solve_their_own_task(key):
    """Two XORs on two pairs of inputs, which one net of that size would have to untangle."""
    x = np.array(list(itertools.product([-1.0, 1.0], repeat=4)), np.float32)
    y = np.stack([x[:, 0] * x[:, 2] < 0, x[:, 1] * x[:, 3] < 0], axis=1).astype(np.float32)
    model = ModularNetwork((MLP((6,), 1, nn.tanh), MLP((6,), 1, nn.tanh)), ((0, 2), (1, 3)))

    def loss(params):
        return jnp.mean(
            losses.sigmoid_binary_cross_entropy(model.apply({"params": params}, x, train=True), y)
        )

    params, values = descend(loss, started(model, key, x), optim.adam(0.05), 200)
    assert values[-1] < 0.02
    answers = lambda row: model.apply({"params": params}, row[None], train=False)[0]  # noqa: E731
    jacobian = quick(jax.jacobian(answers), x[3])
    np.testing.assert_array_equal(jacobian != 0, [[True, False, True, False], [False, True, False, True]])


def test_ways_to_combine(key):
    x = jax.random.normal(key, (5, 4))
    nets, columns = (MLP((3,), 2), MLP((2,), 2)), ((0, 1), (1, 2, 3))
    gated = ModularNetwork(nets, columns, "gated")
    variables = randomized(gated, x)
    params = variables["params"]
    names = sorted(set(params) - {"gate"})
    answers = [
        applied(net, {"params": params[name]}, x[:, list(seen)], train=False)
        for net, name, seen in zip(nets, names, columns)
    ]
    g = nn.softmax(x @ params["gate"]["kernel"] + params["gate"]["bias"][None])
    expected = g[:, :1] * answers[0] + g[:, 1:] * answers[1]
    np.testing.assert_allclose(applied(gated, variables, x, train=False), expected, rtol=1e-5, atol=1e-6)
    rest = {"params": {name: params[name] for name in names}}
    mean = applied(ModularNetwork(nets, columns, "mean"), rest, x, train=False)
    np.testing.assert_allclose(mean, (answers[0] + answers[1]) / 2, rtol=1e-6)
    both = applied(ModularNetwork(nets, columns), rest, x, train=False)
    np.testing.assert_array_equal(both, jnp.concatenate(answers, axis=1))
    layer = {"kernel": jnp.arange(12.0).reshape(4, 3), "bias": jnp.arange(3.0)}
    linear = ModularNetwork(nets, columns, "linear", 3)
    y = applied(linear, {"params": {**rest["params"], "combiner": layer}}, x, train=False)
    np.testing.assert_allclose(y, both @ layer["kernel"] + layer["bias"][None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(ModularNetwork((MLP((), 1),), ((0,), (1,))), "got 2 for 1", id="lists"),
        pytest.param(
            ModularNetwork((MLP((), 1),), ((4,),)), r"columns\[0\] must be between 0 and 2", id="far"
        ),
        pytest.param(ModularNetwork((MLP((), 1),), ((-1,),)), r"columns\[0\] must be between", id="negative"),
        pytest.param(ModularNetwork((MLP((), 1),), ((0,),), "sum"), "combine must be one of", id="how"),
        pytest.param(ModularNetwork((MLP((), 1),), ((0,),), "linear"), "num_classes must be", id="without-k"),
        pytest.param(ModularNetwork((MLP((), 1),), ((0,),), num_classes=3), "num_classes", id="with-k"),
        pytest.param(
            ModularNetwork((MLP((), 1), MLP((), 2)), ((0,), (1,)), "mean"),
            r"modules\[1\] must have",
            id="width",
        ),
        pytest.param(MixtureOfExperts(MLP((), 1), 0), "num_experts must be at least 1", id="no-experts"),
        pytest.param(
            MixtureOfExperts(MLP((), 1), 2, num_active=3), "num_active must be between", id="active"
        ),
        pytest.param(HighwayNetwork(3, -1, 2), "depth must be at least 0", id="depth"),
    ],
)
def test_bad_settings(model, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.ones((2, 3)), train=False))


def test_one_expert_is_that_expert_and_several_are_weighed(key):
    x = jax.random.normal(key, (6, 4))
    expert = MLP((5,), 2)
    model = MixtureOfExperts(expert, 1)
    variables = randomized(model, x)
    alone = {"params": jax.tree.map(lambda leaf: leaf[0], variables["params"]["expert"])}
    np.testing.assert_allclose(
        applied(model, variables, x, train=False),
        applied(expert, alone, x, train=False),
        rtol=1e-5,
        atol=1e-6,
    )
    model = MixtureOfExperts(expert, 3, num_active=2)
    variables = randomized(model, x)
    answers = [
        np.asarray(
            applied(
                expert,
                {"params": jax.tree.map(lambda a, e=e: a[e], variables["params"]["expert"])},
                x,
                train=False,
            )
        )
        for e in range(3)
    ]
    np.testing.assert_allclose(
        applied(model, variables, x, train=False, method="expert_outputs"),
        np.stack(answers, axis=1),
        rtol=1e-5,
        atol=1e-6,
    )
    gate = variables["params"]["gate"]
    weights = np.exp(np.asarray(x @ gate["kernel"] + gate["bias"][None]))
    weights[np.arange(6), weights.argmin(1)] = 0
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(applied(model, variables, x, method="gates"), weights, rtol=1e-5)
    expected = sum(weights[:, e, None] * answers[e] for e in range(3))
    np.testing.assert_allclose(applied(model, variables, x, train=False), expected, rtol=1e-5, atol=1e-5)


def test_two_lines_share_a_bend(key):
    """|x| is two lines. With the likelihood of the source each expert takes one of them, and the gate turns at 0."""
    x = jnp.linspace(-2, 2, 64)[:, None]
    t = jnp.abs(x)
    model = MixtureOfExperts(MLP((), 1), 2)

    def loss(params):
        gates = model.apply({"params": params}, x, method="gates")
        answers = model.apply({"params": params}, x, train=True, method="expert_outputs")[..., 0]
        likelihood = nn.log_sum_exp(jnp.log(gates) - 50 * jnp.square(t - answers), axis=1)
        return -jnp.mean(likelihood)

    params, _ = descend(loss, started(model, key, x), optim.adam(0.05), 600)
    y = applied(model, {"params": params}, x, train=False)
    assert jnp.sqrt(jnp.mean(jnp.square(y - t))) < 0.03
    slopes = jnp.sort(params["expert"]["Dense_0"]["kernel"][:, 0, 0])
    np.testing.assert_allclose(slopes, [-1, 1], atol=0.05)
    gates = applied(model, {"params": params}, jnp.array([[-1.0], [1.0]]), method="gates")
    assert (gates.max(axis=1) > 0.95).all()
    assert gates[0].argmax() != gates[1].argmax()


# Sizes


def test_hidden_layer_heuristic():  # 000-G9
    guess = hidden_layer_heuristic(784, 10)
    assert round(guess.width, 2) == 88.54
    assert (guess.min_depth, guess.max_depth) == (1, 2)
    assert guess.widths == (89,)
    assert hidden_layer_heuristic(784, 10, depth=2).widths == (183, 43)
    assert hidden_layer_heuristic(2, 1, "separable").widths == ()
    deep = hidden_layer_heuristic(3072, 10, "complex")
    assert (deep.min_depth, deep.max_depth) == (3, 5)
    widths = (3072, *deep.widths, 10)
    assert all(a > b for a, b in itertools.pairwise(widths))
    np.testing.assert_allclose(np.diff(np.log(widths)), np.log(10 / 3072) / 4, rtol=0.02)
    with pytest.raises(ValueError, match="problem must be one of 'separable', 'simple', 'complex'"):
        hidden_layer_heuristic(2, 1, "hard")
    with pytest.raises(ValueError, match="num_inputs must be at least 1"):
        hidden_layer_heuristic(0, 1)

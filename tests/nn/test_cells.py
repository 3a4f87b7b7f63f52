"""Recurrent cells: worked numbers, NumPy in float64, parameter counts, and linen's cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import nn
from jaxdl.nn.cells import spectral_radius


def run(cell, params, xs, carry=None, collection="params"):
    """Carry, outputs [T, H] and gates of one sequence xs [T, D], each as NumPy."""
    cast = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), (params, xs, carry), is_leaf=lambda a: isinstance(a, list)
    )
    gated = not isinstance(cell, (nn.SimpleCell, nn.JordanCell, nn.EchoStateCell))

    @jax.jit
    def apply(params, xs, carry):
        carry = None if carry is None else jax.tree.map(lambda c: c[None], carry)
        variables = {collection: {"cell": params}}
        out = nn.RNN(cell).apply(variables, xs[None], initial_carry=carry, return_gates=gated)
        return jax.tree.map(lambda a: a[0], out)

    return jax.tree.map(np.asarray, apply(*cast))


def scalar_lstm(x, h, b=(0, 0, 0, 0)):
    """Parameters of one unit with one weight for all inputs and one for all states."""
    gates = dict(zip("ifgo", np.broadcast_to(b, 4)))
    x, h = np.broadcast_to(x, 4), np.broadcast_to(h, 4)
    params = {f"i{g}": {"kernel": [[w]]} for g, w in zip("ifgo", x)}
    return params | {f"h{g}": {"kernel": [[w]], "bias": [gates[g]]} for g, w in zip("ifgo", h)}


def grid(scale, rows, columns):
    k = np.arange(rows * columns)
    return (scale * (k - rows * columns / 2 + 0.5) / (rows * columns)).reshape(rows, columns)


def vector_lstm(weights):
    """Parameters from W, U and b of each gate in column form, W [H, D]."""
    params = {}
    for gate, (w, u, b) in weights.items():
        params[f"i{gate}"] = {"kernel": np.asarray(w).T}
        params[f"h{gate}"] = {"kernel": np.asarray(u).T, "bias": np.ravel(b)}
    return params


def legacy_lstm():
    draw = np.random.RandomState(0).randn
    x, h, c = draw(3, 1), draw(2, 1), draw(2, 1)
    weights = {gate: (draw(2, 3), draw(2, 2), draw(2, 1)) for gate in "ifog"}
    return vector_lstm(weights), x.T, (c[:, 0], h[:, 0])


@pytest.mark.parametrize(
    ("params", "xs", "carry", "expected"),
    [
        pytest.param(
            scalar_lstm(0.5, 0.5),
            [[1]],
            ([0.2], [0.1]),
            {
                **{gate: [[0.634135591011]] for gate in ("input", "forget", "output")},
                "candidate": [[0.500520211190]],
                "c": [0.444224798138],
                "h": [[0.264523472720]],
            },
            id="000-G11",
        ),
        pytest.param(
            scalar_lstm(0.5, 0.25, (0, 1, 0, 0)),
            [[1], [-1]],
            None,
            {
                "input": [[0.6224593], [0.3878325]],
                "forget": [[0.8175745], [0.6326419]],
                "candidate": [[0.4621172], [-0.4271722]],
                "output": [[0.6224593], [0.3878325]],
                "c": [0.0163077],
                "h": [[0.1742697], [0.0063241]],
            },
            id="001-G17",
        ),
        pytest.param(
            scalar_lstm(1, 1),
            [[1]],
            ([0.25], [0.5]),
            {
                **{gate: [[0.8175744762]] for gate in ("input", "forget", "output")},
                "candidate": [[0.9051482536]],
                "c": [0.9444197284],
                "h": [[0.6027537568]],
            },
            id="002-D8",
        ),
        pytest.param(
            vector_lstm(
                {
                    "i": (grid(1, 2, 3), grid(1, 2, 2), [0.1, 0.1]),
                    "f": (grid(0.5, 2, 3), grid(0.5, 2, 2), [1, 1]),
                    "g": (grid(2, 2, 3), grid(2, 2, 2), [0, 0.2]),
                    "o": (grid(-1, 2, 3), grid(-1, 2, 2), [0, 0]),
                }
            ),
            [[1, -1, 0.5]],
            ([0.3, 0.4], [0.1, -0.2]),
            {
                "candidate": [[-0.4150250, 0.1570234]],
                "input": [[0.4698284, 0.5197813]],
                "forget": [[0.7088042, 0.7290056]],
                "output": [[0.5549851, 0.5052081]],
                "c": [0.0176507, 0.3732201],
                "h": [[0.0097949, 0.1802608]],
            },
            id="002-D9",
        ),
        pytest.param(
            *legacy_lstm(),
            {"h": [[-0.09115162, -0.00112817]], "c": [-0.37509500, -0.04629204]},
            id="002-D21",
        ),
        pytest.param(
            # weights on [h, x] of the gates i, f, g, o
            scalar_lstm((0.4, -0.3, 0.9, 0.7), (0.2, 0.5, 0.1, -0.6), (-0.1, 0.1, 0, 0.2)),
            [[1], [-1], [0.5]],
            None,
            {
                "forget": [[0.450166], [0.631472], [0.486883]],
                "input": [[0.574443], [0.390649], [0.524732]],
                "candidate": [[0.716298], [-0.702537], [0.421491]],
                "output": [[0.710950], [0.339338], [0.634826]],
                "c": [0.214055],
                "h": [[0.277073], [-0.004958], [0.133850]],
            },
            id="004b-lstm",
        ),
    ],
)
def test_lstm_worked_numbers(params, xs, carry, expected):
    features = len(params["hi"]["bias"])
    (c, _), h, gates = run(nn.LSTMCell(features), params, xs, carry)
    got = {**gates, "c": c, "h": h}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)


def gru(r, z, n):
    """Parameters from W, U and b of each gate in column form; the bias beside U h is 0."""
    params = {}
    for gate, (w, u, b) in zip("rzn", (r, z, n)):
        params[f"i{gate}"] = {"kernel": np.asarray(w, float).T, "bias": b}
        params[f"h{gate}"] = {"kernel": np.asarray(u, float).T}
    return params


G10 = gru(
    ([[-0.2, 0.1], [0.05, 0.3]], [[0.1, 0.3], [0.2, -0.2]], [0, 0]),
    ([[0.1, 0.2], [0.3, -0.1]], [[0.2, 0], [-0.1, 0.4]], [0, 0]),
    ([[0.4, -0.3], [0.2, 0.1]], [[0.5, 0.1], [-0.4, 0.2]], [0, 0]),
)
D10 = gru(*[([[1]], [[1]], [0])] * 3)
D11 = gru(
    ([[1], [-1]], np.zeros((2, 2)), [0, 0]),
    ([[0], [0]], np.zeros((2, 2)), [0, 0]),
    ([[1], [1]], [[0, 1], [1, 0]], [0, 0]),
)
B004 = gru(([[0.4]], [[0.2]], [-0.1]), ([[-0.3]], [[0.5]], [0.1]), ([[0.9]], [[0.1]], [0]))


@pytest.mark.parametrize(
    ("settings", "params", "xs", "h", "expected"),
    [
        pytest.param(
            {},
            G10,
            [[0.5, -0.25]],
            [0.1, 0.2],
            {
                "update": [[0.504999833340, 0.560945450325]],
                "reset": [[0.486253465098, 0.482507142334]],
                "candidate": [[0.299561442539, 0.074859690687]],
                "h": [[0.198782947316, 0.145056577849]],
            },
            id="000-G10",
        ),
        pytest.param(
            {"reset": "before"},
            G10,
            [[0.5, -0.25]],
            [0.1, 0.2],
            {"candidate": [[0.299493238232, 0.074710675878]]},
            id="000-G10-before",
        ),
        pytest.param(
            {"z_keeps_state": False},
            G10,
            [[0.5, -0.25]],
            [0.1, 0.2],
            {"h": [[0.200778495223, 0.129803112839]]},
            id="000-G10-takes",
        ),
        pytest.param(
            {"z_keeps_state": False},
            D10,
            [[1]],
            [0.5],
            {
                "reset": [[0.8175744762]],
                "update": [[0.8175744762]],
                "candidate": [[0.8872363205]],
                "h": [[0.8165945319]],
            },
            id="002-D10",
        ),
        pytest.param({}, D10, [[1]], [0.5], {"h": [[0.5706417886]]}, id="002-D11-keeps"),
        pytest.param(
            {}, D11, [[1]], [0.5, -0.25], {"candidate": [[0.6735623, 0.8125438]]}, id="002-D11-after"
        ),
        pytest.param(
            {"reset": "before"},
            D11,
            [[1]],
            [0.5, -0.25],
            {"candidate": [[0.7318803, 0.8776693]]},
            id="002-D11-before",
        ),
        pytest.param(
            {"reset": "before", "z_keeps_state": False},
            B004,
            [[1], [-1], [0.5]],
            [0],
            {"h": [[0.322453], [-0.334995], [-0.003826]]},
            id="004b-gru",
        ),
    ],
)
def test_gru_worked_numbers(settings, params, xs, h, expected):
    params = jax.tree.map(np.array, params, is_leaf=lambda p: isinstance(p, list))
    if settings.get("reset") != "before":
        params["hn"] = {**params["hn"], "bias": np.zeros(len(h))}
    _, outputs, gates = run(nn.GRUCell(len(h), **settings), params, xs, np.array(h, float))
    got = {**gates, "h": outputs}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("z_keeps_state", [True, False], ids=["keeps", "takes"])
def test_gru_at_the_limits_of_its_update_gate(z_keeps_state):  # 000-G10
    params = jax.tree.map(np.array, G10, is_leaf=lambda p: isinstance(p, list))
    params["hn"] = {**params["hn"], "bias": np.zeros(2)}
    h = np.array([0.1, 0.2])
    for sign in (1, -1):
        params["iz"] = {**params["iz"], "bias": np.full(2, sign * 100.0)}
        _, outputs, gates = run(nn.GRUCell(2, z_keeps_state=z_keeps_state), params, [[0.5, -0.25]], h)
        kept = (sign == 1) == z_keeps_state
        np.testing.assert_allclose(outputs[0], h if kept else gates["candidate"][0], atol=1e-7)


@pytest.mark.parametrize(
    ("w", "u", "v", "xs", "states", "outputs"),
    [
        pytest.param(
            [[0.5], [-0.3]],
            [[0.1, 0.2], [0.3, 0.4]],
            [1, -1],
            [[1], [2], [-1]],
            [[0.4621172, -0.2913126], [0.7564865, -0.5211301], [-0.4842929, 0.3081445]],
            [0.7534298, 1.2776166, -0.7924374],
            id="001-G15",
        ),
        pytest.param(
            [[0.5, -0.2], [0.3, 0.8]],
            [[0.1, 0.4], [-0.3, 0.2]],
            [1, -1],
            [[1, 0], [0, 1], [1, 1]],
            [[0.46211716, 0.29131261], [-0.037246, 0.61667844], [0.49521532, 0.84388239]],
            [0.17080454, -0.65392444, -0.34866706],
            id="004b-rnn",
        ),
        pytest.param(
            [[0.5]],
            [[0.8]],
            [1.2],
            [[1], [-1], [0.5]],
            [[0.462117157260], [-0.129573727595], [0.145305225112]],
            [0.554540588712, -0.155488473114, 0.174366270134],
            id="000-G12",
        ),
        pytest.param(
            [[1]],
            [[0.5]],
            [1],
            [[1], [-1], [0.5]],
            [[0.7615941560], [-0.5505728129], [0.2210060678]],
            [0.7615941560, -0.5505728129, 0.2210060678],
            id="002-D4",
        ),
    ],
)
def test_simple_cell_worked_numbers(w, u, v, xs, states, outputs):
    params = {"i": {"kernel": np.array(w).T}, "h": {"kernel": np.array(u).T}}
    last, got = run(nn.SimpleCell(len(u), use_bias=False), params, xs)
    np.testing.assert_allclose(got, states, atol=1e-6)
    np.testing.assert_allclose(got @ np.array(v), outputs, atol=1e-6)
    np.testing.assert_array_equal(last, got[-1])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Weights:
    """Random parameters in float64 by name, handed to a transcription and, as they are, to a cell."""

    def __init__(self, **shapes):
        rng = np.random.default_rng(3)
        self.arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def __getitem__(self, name):
        return self.arrays[name]

    def params(self):
        tree: dict = {}
        for name, value in self.arrays.items():
            *path, leaf = name.split("_")
            place = tree
            for part in path:
                place = place.setdefault(part, {})
            place[leaf] = value
        return tree


XS = np.random.default_rng(1).normal(size=(4, 3))


def test_jordan_cell_feeds_its_output_back():
    p = Weights(i_kernel=(3, 5), i_bias=5, y_kernel=(2, 5), o_kernel=(5, 2), o_bias=2)
    y, expected = np.array([0.3, -0.2]), []
    for x in XS:
        h = np.tanh(x @ p["i_kernel"] + y @ p["y_kernel"] + p["i_bias"])
        y = sigmoid(h @ p["o_kernel"] + p["o_bias"])
        expected.append(y)
    cell = nn.JordanCell(5, out_features=2, output_fn=nn.sigmoid)
    last, got = run(cell, p.params(), XS, np.array([0.3, -0.2]))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(last, got[-1])


def lstm_shapes(inputs, features):
    shapes = {f"i{g}_kernel": (inputs, features) for g in "ifgo"}
    shapes |= {f"h{g}_kernel": (features, features) for g in "ifgo"}
    return shapes | {f"h{g}_bias": features for g in "ifgo"}


def lstm_sums(p, x, h):
    return {g: x @ p[f"i{g}_kernel"] + h @ p[f"h{g}_kernel"] + p[f"h{g}_bias"] for g in "ifgo"}


def test_lstm_with_peepholes():
    p = Weights(**lstm_shapes(3, 4), pi=4, pf=4, po=4)
    c, h, expected = np.zeros(4), np.zeros(4), []
    for x in XS:
        a = lstm_sums(p, x, h)
        i, f = sigmoid(a["i"] + p["pi"] * c), sigmoid(a["f"] + p["pf"] * c)
        c = f * c + i * np.tanh(a["g"])
        h = sigmoid(a["o"] + p["po"] * c) * np.tanh(c)
        expected.append(h)
    (memory, _), got, _ = run(nn.LSTMCell(4, peepholes=True), p.params(), XS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(memory, c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combine", ["input", "state"])
def test_attention_lstm(combine):  # 002-G32 and its correction
    p = Weights(
        **lstm_shapes(6 if combine == "input" else 7, 4),
        attention_query_kernel=(4, 5),
        attention_key_kernel=(3, 5),
        attention_score_kernel=(5, 1),
    )
    c, h, expected, weights = np.zeros(4), np.zeros(4), [], []
    keys = XS @ p["attention_key_kernel"]
    for x in XS:
        scores = (np.tanh(h @ p["attention_query_kernel"] + keys) @ p["attention_score_kernel"])[:, 0]
        a = np.exp(scores) / np.exp(scores).sum()
        a_sums = lstm_sums(p, np.concatenate([x if combine == "input" else h, a @ XS]), h)
        c = sigmoid(a_sums["f"]) * c + sigmoid(a_sums["i"]) * np.tanh(a_sums["g"])
        h = sigmoid(a_sums["o"]) * np.tanh(c)
        expected.append(h)
        weights.append(a)
    cell = nn.AttentionLSTMCell(4, attention_features=5, combine=combine)
    _, got, gates = run(cell, p.params(), XS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gates["attention"], weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reset", ["after", "before", None], ids=str)
def test_minimal_gated_cell(reset):
    p = Weights(if_kernel=(3, 4), if_bias=4, in_kernel=(3, 4), in_bias=4, hf_kernel=(4, 4), hn_kernel=(4, 4))
    inner = np.random.default_rng(5).normal(size=4) if reset == "after" else np.zeros(4)
    h, expected = np.zeros(4), []
    for x in XS:
        f = sigmoid(x @ p["if_kernel"] + p["if_bias"] + h @ p["hf_kernel"])
        product = (f * h) @ p["hn_kernel"] if reset == "before" else h @ p["hn_kernel"] + inner
        n = np.tanh(x @ p["in_kernel"] + p["in_bias"] + (f * product if reset == "after" else product))
        h = f * h + (1 - f) * n
        expected.append(h)
    params = p.params()
    if reset == "after":
        params["hn"]["bias"] = inner
    _, got, _ = run(nn.MinimalGatedCell(4, reset=reset), params, XS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_echo_state_cell(key):
    cell = nn.EchoStateCell(40, spectral_radius=0.8, leak=0.3, input_scale=0.5, bias_scale=0.2, density=0.2)
    variables = jax.jit(cell.init)(key, jnp.zeros(40), jnp.zeros(3))
    assert set(variables) == {"reservoir"}  # nothing for an optimizer
    fixed = {name: np.asarray(a, np.float64) for name, a in variables["reservoir"].items()}
    w = fixed["kernel"]
    np.testing.assert_allclose(abs(np.linalg.eigvals(w)).max(), 0.8, rtol=1e-4)
    assert 0.13 < (w != 0).mean() < 0.27
    assert 0.4 < abs(fixed["input_kernel"]).max() <= 0.5
    assert 0.1 < abs(fixed["bias"]).max() <= 0.2
    s, expected = np.zeros(40), []
    for x in XS:
        s = 0.7 * s + 0.3 * np.tanh(x @ fixed["input_kernel"] + s @ w + fixed["bias"])
        expected.append(s)
    _, got = run(cell, fixed, XS, collection="reservoir")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_reservoir_forgets_where_it_started(key):
    layer = nn.RNN(nn.EchoStateCell(30, spectral_radius=0.5))
    x = jnp.broadcast_to(jnp.sin(jnp.arange(60.0))[None, :, None], (2, 60, 1))
    start = jnp.stack([jnp.ones(30), -jnp.ones(30)])
    (last, outputs), _ = jax.jit(layer.init_with_output)(key, x, initial_carry=start)
    assert abs(outputs[0, 0] - outputs[1, 0]).max() > 0.1
    np.testing.assert_allclose(last[0], last[1], atol=1e-6)


def test_spectral_radius_equals_the_largest_eigenvalue():
    rng = np.random.default_rng(0)
    rotation = np.array([[0.0, -2], [2, 0]])
    matrices = [rng.normal(size=(6, 6)), np.diag([1.0, -3, 2]), rotation, np.zeros((3, 3))]
    for matrix in [*matrices, np.array([[0.0, 1], [0, 0]]), np.array([[2.0, 1], [0, 2]])]:
        expected = abs(np.linalg.eigvals(matrix)).max()
        got = spectral_radius(jnp.asarray(matrix, jnp.float32))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "inputs", "count"),
    [
        # PyTorch's 395,264 and 296,448 have a second bias for every block, and for two of a GRU's three.
        pytest.param(nn.LSTMCell(256), 128, 395_264 - 4 * 256, id="torch-lstm"),
        pytest.param(nn.GRUCell(256), 128, 296_448 - 2 * 256, id="torch-gru"),
        pytest.param(nn.LSTMCell(2), 3, 48, id="002-D21"),
        pytest.param(nn.LSTMCell(2, peepholes=True), 3, 48 + 6, id="peepholes"),
        pytest.param(nn.GRUCell(2, reset="before"), 3, 36, id="002-1.5-gru"),
        pytest.param(nn.GRUCell(2), 3, 38, id="gru-after"),
        pytest.param(nn.GRUCell(2, use_bias=False), 3, 30, id="gru-without-bias"),
        pytest.param(nn.MinimalGatedCell(2, reset=None), 3, 24, id="minimal"),
        pytest.param(nn.SimpleCell(20), 10, 725 - 20 * 5 - 5, id="001-1.17"),
        pytest.param(nn.SimpleCell(64), 128, 12_352, id="004b-1.9"),
        pytest.param(nn.LSTMCell(32), 32, 16_640 // 2, id="004b-1.13"),
        pytest.param(nn.JordanCell(5, out_features=2), 3, 3 * 5 + 5 + 2 * 5 + 5 * 2 + 2, id="jordan"),
        pytest.param(nn.AttentionLSTMCell(16), 10, 4 * 16 * (20 + 16 + 1) + 16 * 27, id="attention"),
    ],
)
def test_parameter_count(cell, inputs, count):
    x = jax.ShapeDtypeStruct((1, 5, inputs), jnp.float32)
    variables = jax.eval_shape(nn.RNN(cell).init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count
    simple = {nn.LSTMCell: "lstm", nn.SimpleCell: "simple"}.get(type(cell))
    if simple and not getattr(cell, "peepholes", False):
        assert nn.recurrent_param_count(inputs, cell.features, simple) == count


LINENS = [
    pytest.param(nn.SimpleCell(5), linen.SimpleCell(5), (3,), id="simple"),
    pytest.param(nn.LSTMCell(5), linen.LSTMCell(5), (3,), id="lstm"),
    pytest.param(nn.GRUCell(5), linen.GRUCell(5), (3,), id="gru"),
    pytest.param(nn.MinimalGatedCell(5), linen.MGUCell(5), (3,), id="minimal"),
    pytest.param(
        nn.MinimalGatedCell(5, reset=None), linen.MGUCell(5, reset_gate=False), (3,), id="minimal-none"
    ),
    pytest.param(nn.ConvLSTMCell(2, kernel_size=3), linen.ConvLSTMCell(2, (3, 3)), (4, 5, 3), id="conv"),
    pytest.param(
        nn.ConvLSTMCell(2, kernel_size=(4,)),
        linen.ConvLSTMCell(2, (4,)),
        (6, 3),
        id="conv-one-axis",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), LINENS)
def test_a_checkpoint_of_linens_cell_loads(ours, theirs, shape, key):
    x = jax.random.normal(key, (2, *shape))
    carry = jax.tree.map(lambda c: 0.5 * jnp.ones_like(c), ours.initialize_carry(key, x.shape))

    def shapes(cell):
        return jax.tree.map(jnp.shape, jax.eval_shape(cell.init, key, carry, x))

    assert shapes(ours) == shapes(theirs)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s), jnp.float32),
        shapes(theirs),
        is_leaf=lambda s: isinstance(s, tuple),
    )

    @jax.jit
    def both(variables, carry, x):
        return ours.apply(variables, carry, x), theirs.apply(variables, carry, x)

    got, expected = both(variables, carry, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, expected)


def test_forget_gates_start_open_and_recurrent_kernels_as_rotations(key):
    params = jax.jit(nn.LSTMCell(3).init)(key, (jnp.zeros(3), jnp.zeros(3)), jnp.zeros(2))["params"]
    for gate in "ifgo":
        np.testing.assert_array_equal(params[f"h{gate}"]["bias"], float(gate == "f"))
        u = np.asarray(params[f"h{gate}"]["kernel"])
        np.testing.assert_allclose(u @ u.T, np.eye(3), atol=1e-6)


ZEROS = jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("cell", "carry", "x", "error", "match"),
    [
        pytest.param(
            nn.SimpleCell(0), ZEROS, ZEROS, ValueError, "features must be at least 1", id="features"
        ),
        pytest.param(nn.SimpleCell(3), ZEROS, ZEROS.astype(int), TypeError, "x must be floating", id="dtype"),
        pytest.param(nn.LSTMCell(3), ZEROS, ZEROS, ValueError, "carry must have the shapes", id="structure"),
        pytest.param(nn.GRUCell(4), ZEROS, ZEROS, ValueError, r"\(2, 4\), got \(2, 3\)", id="carry"),
        pytest.param(
            nn.GRUCell(3, reset="never"), ZEROS, ZEROS, ValueError, "reset must be one of", id="reset"
        ),
        pytest.param(
            nn.MinimalGatedCell(3, reset="never"),
            ZEROS,
            ZEROS,
            ValueError,
            "reset must be one of",
            id="reset-mgu",
        ),
        pytest.param(
            nn.EchoStateCell(3, leak=2.0), ZEROS, ZEROS, ValueError, "leak must be between", id="leak"
        ),
        pytest.param(
            nn.EchoStateCell(3, spectral_radius=0.0),
            ZEROS,
            ZEROS,
            ValueError,
            "spectral_radius must be",
            id="radius",
        ),
        pytest.param(
            nn.ConvLSTMCell(1, padding="VALID"),
            (jnp.zeros((1, 4, 4, 1)),) * 2,
            jnp.zeros((1, 4, 4, 2)),
            ValueError,
            "padding must keep the size",
            id="padding",
        ),
    ],
)
def test_bad_input(cell, carry, x, error, match, key):
    with pytest.raises(error, match=match):
        jax.eval_shape(cell.init, key, carry, x)


def test_only_gated_cells_return_gates(key):
    with pytest.raises(ValueError, match="SimpleCell, which has no gates"):
        jax.eval_shape(lambda: nn.SimpleCell(3).init(key, ZEROS, ZEROS, return_gates=True))
    with pytest.raises(ValueError, match="EchoStateCell, which has no gates"):
        jax.eval_shape(lambda: nn.RNN(nn.EchoStateCell(3)).init(key, ZEROS[None], return_gates=True))


def test_attention_lstm_step_over_a_masked_memory(key):
    cell, h = nn.AttentionLSTMCell(4), jnp.ones((2, 4))
    x, memory = jnp.ones((2, 3)), jax.random.normal(key, (2, 5, 6))
    mask = jnp.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    hidden = jnp.where(mask[..., None], memory, jnp.nan)

    shapes = jax.eval_shape(lambda: cell.init(key, (h, h), x, memory))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), shapes)

    @jax.jit
    def both(variables, hidden):
        first = (h[:1], h[:1]), x[:1], memory[:1, :2]
        return (
            cell.apply(variables, (h, h), x, hidden, mask, return_gates=True),
            cell.apply(variables, *first, return_gates=True),
        )

    (carry, y, gates), (_, short, short_gates) = both(variables, hidden)
    np.testing.assert_allclose(y[:1], short, rtol=1e-5)
    np.testing.assert_allclose(gates["attention"][0, :2], short_gates["attention"][0], rtol=1e-5)
    np.testing.assert_array_equal(gates["attention"][0, 2:], 0)
    np.testing.assert_array_equal(gates["attention"][1], 0)  # nothing to attend to
    assert np.isfinite(carry[0]).all()
    with pytest.raises(ValueError, match=r"memory_mask must have shape \(2, 5\)"):
        jax.eval_shape(lambda: cell.init(key, (h, h), x, memory, mask[:1]))
    with pytest.raises(ValueError, match="combine must be one of"):
        jax.eval_shape(lambda: nn.AttentionLSTMCell(4, combine="both").init(key, (h, h), x, memory))

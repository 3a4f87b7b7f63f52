"""Recurrent layers: PyTorch with packed sequences, the two forms of the loop, linen, padding, order, stacking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxdl import backends, nn
from jaxdl.nn import gated_cells
from jaxdl.nn.cells import _SIMPLE


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_like(tree, seed=0):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [0.5 * normal(seed + i, *leaf.shape) for i, leaf in enumerate(leaves)]
    )


def parameters(layer, x, **settings):
    """Random parameters, without the time that an eager initialisation takes."""
    return random_like(jax.eval_shape(lambda x: layer.init(jax.random.key(0), x, **settings), x))


def close(got, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)


X = normal(1, 4, 6, 3)
LENGTHS = np.array([6, 2, 5, 1])
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}


@pytest.mark.parametrize(
    ("kind", "num_layers", "bidirectional"),
    [
        pytest.param("lstm", 2, True, id="lstm-2-bidirectional"),
        pytest.param("gru", 1, True, id="gru-bidirectional"),
        pytest.param("gru", 2, True, id="gru-2-bidirectional", marks=pytest.mark.slow),
        pytest.param("rnn", 2, True, id="rnn-2-bidirectional", marks=pytest.mark.slow),
        pytest.param("rnn", 2, False, id="rnn-2"),
        pytest.param("lstm", 1, False, id="lstm-1", marks=pytest.mark.slow),
        pytest.param("gru", 1, False, id="gru-1", marks=pytest.mark.slow),
    ],
)
def test_matches_torch_on_packed_sequences(kind, num_layers, bidirectional):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]
    there = make(3, 4, num_layers, batch_first=True, bidirectional=bidirectional)
    x = torch.tensor(X, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    out, states = there(packed)
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    states = states if kind == "lstm" else (states,)
    directions = 1 + bidirectional
    weights = normal(5, *out.shape), [normal(6 + i, *s.shape) for i, s in enumerate(states)]
    total = (out * torch.tensor(weights[0])).sum()
    total = total + sum((s * torch.tensor(w)).sum() for s, w in zip(states, weights[1]))
    total.backward()

    def layer():
        if not bidirectional:
            return nn.RNN(CELLS[kind](4))
        return nn.Bidirectional(nn.RNN(CELLS[kind](4)), nn.RNN(CELLS[kind](4)))

    net = nn.StackedRNN([layer() for _ in range(num_layers)])
    state_dict = {name: value.numpy() for name, value in there.state_dict().items()}
    params = nn.recurrent_params_from_torch(state_dict)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), X, train=False))["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)

    @jax.jit
    def run(params, x, lengths):
        def objective(params, x):
            carries, out = net.apply({"params": params}, x, train=False, lengths=lengths)
            # torch stacks [layers * directions, B, H], h before c
            leaves = [
                jax.tree.leaves(carry) for carry in (carries if not bidirectional else sum(carries, ()))
            ]
            states = [jnp.stack(s) for s in zip(*leaves)][::-1]
            total = (out * weights[0]).sum() + sum((s * w).sum() for s, w in zip(states, weights[1]))
            return total, (out, states)

        return jax.grad(objective, (0, 1), has_aux=True)(params, x)

    (d_params, d_x), (got, got_states) = run(params, X, LENGTHS)
    assert directions * num_layers == got_states[0].shape[0]
    close(got, out.detach().numpy())
    close(got_states, [s.detach().numpy() for s in states])
    close(d_x, x.grad.numpy())
    d_there = {name: p.grad.numpy() for name, p in there.named_parameters()}
    for name, value in nn.recurrent_params_to_torch(d_params).items():
        # Where two biases of theirs are one of ours, each has its whole gradient.
        if name.startswith("bias_hh"):
            value = np.where(value == 0, d_there[name], value)
        np.testing.assert_allclose(value, d_there[name], rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("kind", list(CELLS))
def test_weights_go_to_torch_and_back(kind, bias):
    torch = pytest.importorskip("torch")
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]
    there = make(3, 4, 2, bias=bias, bidirectional=True)
    params = nn.recurrent_params_from_torch({name: v.numpy() for name, v in there.state_dict().items()})
    back = nn.recurrent_params_to_torch(params)
    again = make(3, 4, 2, bias=bias, bidirectional=True)
    again.load_state_dict({name: torch.from_numpy(v.copy()) for name, v in back.items()})
    x = torch.tensor(X)
    np.testing.assert_allclose(again(x)[0].detach().numpy(), there(x)[0].detach().numpy(), atol=1e-6)
    close(nn.recurrent_params_from_torch(back), params, 1e-7)
    cell = nn.RNN(CELLS[kind](4, use_bias=bias))
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), X))["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params["layers_0"]["forward_rnn"])


STEPS = {
    "simple": (_SIMPLE, 1, False),
    "lstm": (gated_cells._LSTM, 4, True),
    "gru-keeps": (gated_cells._gru_step(True), 3, False),
    "gru-takes": (gated_cells._gru_step(False), 3, False),
    "minimal": (gated_cells._MINIMAL, 2, False),
}


@pytest.mark.parametrize("name", list(STEPS))
def test_closed_derivative_of_a_step_equals_autodiffs(name):
    step, blocks, pair = STEPS[name]
    widths = (5 * blocks,) if step.joined else (5 * (blocks - 1), 5, 5)
    sums = tuple(2 * normal(i, 3, width) for i, width in enumerate(widths))
    carry = (normal(3, 3, 5), normal(4, 3, 5)) if pair else normal(3, 3, 5)
    tangents = jax.tree.map(lambda a: normal(7, *a.shape), (sums, carry))

    @jax.jit
    def both(sums, carry, d_sums, d_carry):
        _, coefficients = step.advance(sums, carry)
        expected = jax.jvp(lambda s, c: step.advance(s, c)[0], (sums, carry), (d_sums, d_carry))[1]
        return step.tangent(coefficients, d_sums, d_carry), expected

    close(*both(sums, carry, *tangents), 2e-6)


MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize(
    ("cell", "reverse", "thorough"),
    [
        pytest.param(nn.LSTMCell(4), True, False, id="lstm-twice"),
        pytest.param(nn.LSTMCell(4), False, True, id="lstm", marks=pytest.mark.slow),
        pytest.param(nn.GRUCell(4), False, True, id="gru", marks=pytest.mark.slow),
        pytest.param(nn.GRUCell(4, z_keeps_state=False), True, True, id="gru-takes", marks=pytest.mark.slow),
        pytest.param(nn.MinimalGatedCell(4), False, True, id="minimal", marks=pytest.mark.slow),
        pytest.param(nn.SimpleCell(4, use_bias=False), True, True, id="simple", marks=pytest.mark.slow),
    ],
)
def test_fast_loop_equals_the_plain_one(cell, reverse, thorough):
    layer = nn.RNN(cell)
    variables = parameters(layer, X)
    carry = random_like(jax.eval_shape(lambda: cell.initialize_carry(jax.random.key(0), (4, 3))), 9)
    tangents = random_like((variables, carry, X), 20)

    def forms(variables, carry, x, tangents):
        def total(variables, carry, x):
            last, outputs = layer.apply(variables, x, mask=MASK, initial_carry=carry, reverse=reverse)
            return jnp.sin(outputs).sum() + sum(jnp.square(c).sum() for c in jax.tree.leaves(last))

        gradient = jax.grad(total, (0, 1, 2))
        args = (variables, carry, x)
        # The gradient, and the Hessian times a vector: forward over reverse.
        both = jax.jvp(gradient, args, tangents)
        if not thorough:
            return both
        many = jax.vmap(gradient, (None, None, 0))(variables, carry, jnp.stack([x, 2 * x]))
        return both, jax.jvp(total, args, tangents), many, jax.grad(jax.checkpoint(total))(*args)

    got = jax.jit(forms)(variables, carry, X, tangents)
    assert "custom_jvp" in str(jax.make_jaxpr(lambda x: layer.apply(variables, x))(X))
    with backends.plain_forms():
        expected = jax.jit(lambda *args: forms(*args))(variables, carry, X, tangents)
        assert "custom_jvp" not in str(jax.make_jaxpr(lambda x: layer.apply(variables, x))(X))
    close(got, expected, 2e-5)


def test_weight_gradients_are_products_behind_the_loop():
    layer = nn.RNN(nn.LSTMCell(5))
    variables = parameters(layer, X)
    text = str(jax.make_jaxpr(jax.grad(lambda v: layer.apply(v, X)[1].sum()))(variables))
    # 4 blocks of H; in the plain loop a [D or H, 4 H] cotangent is carried through every backward step.
    loops = [line for line in text.split("\n") if "scan[" in line]
    assert len(loops) == 2
    for line in loops:
        assert "f32[5,20]" not in line.split("=")[0]
        assert "f32[8,20]" not in line.split("=")[0]


EVERY = {
    "simple": nn.SimpleCell(4),
    "irnn": nn.SimpleCell(4, activation_fn=jax.nn.relu, recurrent_kernel_init=nn.identity_init()),
    "jordan": nn.JordanCell(4, out_features=2),
    "lstm": nn.LSTMCell(4),
    "peepholes": nn.LSTMCell(4, peepholes=True),
    "gru": nn.GRUCell(4),
    "gru-before": nn.GRUCell(4, reset="before"),
    "minimal": nn.MinimalGatedCell(4),
    "attention": nn.AttentionLSTMCell(4),
    "echo": nn.EchoStateCell(4),
    "linen": linen.GRUCell(4),
}


SELDOM = ("simple", "jordan", "minimal", "irnn", "peepholes", "gru-before")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SELDOM else []) for n in EVERY]
)
def test_eager_jit_vmap_bfloat16_and_padding(name):
    """One program for each cell: the forms agree, and NaN at padded steps reaches nothing."""
    layer = nn.RNN(EVERY[name])
    variables = parameters(layer, X)
    dirty = np.where(MASK[..., None], X, np.nan)

    def total(variables, x):
        carry, outputs = layer.apply(variables, x, mask=MASK)
        return outputs.sum() + sum(c.sum() for c in jax.tree.leaves(carry)), (carry, outputs)

    derived = name in ("simple", "attention", "linen")  # one of the fast, the plain and the lifted loop

    @jax.jit
    def run(variables, dirty):
        half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (variables, dirty))
        function = jax.grad(total, (0, 1), has_aux=True) if derived else lambda *args: ((), total(*args)[1])
        many = jax.vmap(lambda x: layer.apply(variables, x[None], mask=MASK[:1])[1][0])(X)
        return function(variables, dirty), many, layer.apply(*half, mask=MASK)[1]

    (gradients, (carry, outputs)), many, half = run(variables, dirty)
    assert name == "linen" or half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), outputs, atol=0.03)
    eager = layer.apply(variables, X[:1])
    np.testing.assert_allclose(outputs[:1], eager[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(many[0], eager[1][0], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:1], b, rtol=1e-5, atol=1e-6), carry, eager[0])
    np.testing.assert_array_equal(outputs[~MASK], 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, carry)))
    for leaf in jax.tree.leaves(carry):  # the last sequence has no step
        np.testing.assert_array_equal(leaf[3], 0)
    if derived:
        np.testing.assert_array_equal(gradients[1][~MASK], 0)
        assert np.abs(gradients[1][MASK]).max() > 0


@pytest.mark.parametrize(
    ("name", "reverse"),
    [
        pytest.param("lstm", True, id="lstm-backward"),
        pytest.param("attention", False, id="attention-forward"),
        pytest.param("linen", True, id="linen-backward"),
        pytest.param("lstm", False, id="lstm-forward", marks=pytest.mark.slow),
        pytest.param("attention", True, id="attention-backward", marks=pytest.mark.slow),
        pytest.param("linen", False, id="linen-forward", marks=pytest.mark.slow),
    ],
)
def test_masked_equals_sliced(name, reverse):
    """A sequence between gaps gives what its real steps alone give, in the fast, the plain and the lifted loop."""
    layer = nn.RNN(EVERY[name])
    variables = parameters(layer, X)
    real = MASK[2]
    with_gaps, alone = jax.jit(
        lambda v, x: (
            layer.apply(v, x[2:3], mask=MASK[2:3], reverse=reverse),
            layer.apply(v, x[2:3, np.flatnonzero(real)], reverse=reverse),
        )
    )(variables, X)
    close(with_gaps[0], alone[0], 1e-6)
    close(with_gaps[1][:, real], alone[1], 1e-6)


def test_conv_lstm_over_padded_sequences_equals_linens(key):
    x = normal(0, 2, 3, 4, 4, 2)
    ours, theirs = nn.RNN(nn.ConvLSTMCell(2)), linen.RNN(linen.ConvLSTMCell(2, (3, 3)), return_carry=True)
    variables = parameters(ours, x)
    lengths = np.array([3, 2])

    @jax.jit
    def run(variables, x):
        def of(layer, **settings):
            def total(variables, x):
                (c, h), y = layer.apply(variables, x, **settings)
                real = (np.arange(3)[None] < lengths[:, None])[..., None, None, None]
                return (jnp.where(real, y, 0) * jnp.cos(y)).sum() + (c * h).sum(), (
                    c,
                    h,
                    jnp.where(real, y, 0),
                )

            return jax.grad(total, (0, 1), has_aux=True)(variables, x)

        return of(ours, lengths=lengths), of(theirs, seq_lengths=lengths)

    close(*run(variables, x))


@pytest.mark.slow  # three gradients of an unrolled loop to compile
def test_conv_lstm_in_bfloat16_only_rounds():
    """Values and gradients near those of the rounded numbers in float32, with parameters of either width."""
    x, layer = normal(0, 2, 3, 4, 4, 2), nn.RNN(nn.ConvLSTMCell(3))
    variables = parameters(layer, x)
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (variables, x))
    variables, x = jax.tree.map(lambda a: a.astype(jnp.float32), half)
    mixed = nn.RNN(nn.ConvLSTMCell(3, dtype=jnp.bfloat16))
    made = jax.eval_shape(lambda x: mixed.init(jax.random.key(0), x), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}

    @jax.jit
    def run(variables, x, half):
        def of(layer, variables, x):
            def total(variables, x):
                (c, h), y = layer.apply(variables, x)
                wide = y.astype(jnp.float32)
                return (wide * jnp.cos(wide)).sum() + (c * h).astype(jnp.float32).sum(), (c, h, y)

            return jax.grad(total, (0, 1), has_aux=True)(variables, x)

        return of(layer, variables, x), of(layer, *half), of(mixed, variables, x)

    (gradients, outputs), *others = run(variables, x, half)
    for got_gradients, got in others:
        assert [a.dtype for a in got] == [jnp.float32, jnp.float32, jnp.bfloat16]  # states sum in full width
        for a, b in zip(got, outputs):
            np.testing.assert_allclose(a.astype(np.float32), b, atol=0.02)
        for a, b in zip(jax.tree.leaves(got_gradients), jax.tree.leaves(gradients)):
            np.testing.assert_allclose(a.astype(np.float32), b, atol=0.03 * np.abs(b).max())


def test_conv_lstm_has_no_loop_on_cpu():
    layer = nn.RNN(nn.ConvLSTMCell(8))
    x = jax.ShapeDtypeStruct((2, 3, 5, 5, 8), jnp.float32)
    variables = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x), x)
    lowered = jax.jit(jax.grad(lambda v, x: layer.apply(v, x)[1].sum())).lower(variables, x).as_text()
    assert "stablehlo.convolution" in lowered
    assert "stablehlo.while" not in lowered


def test_linens_layer_runs_our_cells_and_ours_linens():
    """Parameters and values are the same in all four pairs."""
    lengths = np.array([6, 2, 5, 1])
    cells = (nn.LSTMCell(4), linen.LSTMCell(4))
    variables = parameters(nn.RNN(cells[0]), X)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, parameters(linen.RNN(cells[1]), X))

    @jax.jit
    def run(variables, x):
        ours = [nn.RNN(cell).apply(variables, x, lengths=lengths) for cell in cells]
        theirs = [
            linen.RNN(cell).apply(variables, x, seq_lengths=lengths, return_carry=True) for cell in cells
        ]
        return ours, theirs

    (first, second), (third, last) = run(variables, X)
    real = np.arange(6)[None] < lengths[:, None]
    for carry, outputs in (second, third, last):
        close(carry, first[0], 1e-6)
        close(outputs[real], first[1][real], 1e-6)


@pytest.mark.slow
def test_bidirectional_layer_of_linen_has_our_parameters_and_values():
    ours = nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4)))
    theirs = linen.Bidirectional(linen.RNN(linen.GRUCell(4)), linen.RNN(linen.GRUCell(4)))
    variables = parameters(ours, X)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, parameters(theirs, X))
    got, expected = jax.jit(
        lambda v, x: (ours.apply(v, x, lengths=LENGTHS)[1], theirs.apply(v, x, seq_lengths=LENGTHS))
    )(variables, X)
    real = np.arange(6)[None] < LENGTHS[:, None]
    close(got[real], expected[real], 1e-6)


SCALAR = {"cell": {"i": {"kernel": jnp.ones((1, 1))}, "h": {"kernel": jnp.full((1, 1), 0.5)}}}
D4 = jnp.array([[[1.0], [-1], [0.5]]])


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_bidirectional_worked_numbers(merge):  # 002-D4, G34
    def layer():
        return nn.RNN(nn.SimpleCell(1, use_bias=False))

    net = nn.Bidirectional(layer(), layer(), merge)
    params = {"forward_rnn": SCALAR, "backward_rnn": SCALAR}
    (last, first), y = jax.jit(lambda p, x: net.apply({"params": p}, x))(params, D4)
    forward = np.array([0.7615941560, -0.5505728129, 0.2210060678])
    backward = np.array([0.5894633499, -0.6463134841, 0.4621171573])
    expected = np.stack([forward, backward], 1) if merge == "concat" else (forward + backward)[:, None]
    np.testing.assert_allclose(y[0], expected, atol=1e-6)
    np.testing.assert_allclose([last[0, 0], first[0, 0]], [forward[-1], backward[0]], atol=1e-6)


def test_order_of_a_reversed_run():  # 000-G15
    layer = nn.RNN(nn.SimpleCell(1, use_bias=False))
    x = jnp.concatenate([D4, jnp.full((1, 1, 1), jnp.nan)], axis=1)
    kept, turned = jax.jit(
        lambda p, x: [
            layer.apply({"params": p}, x, lengths=jnp.array([3]), reverse=True, keep_order=keep)[1]
            for keep in (True, False)
        ]
    )(SCALAR, x)
    backward = [0.5894633499, -0.6463134841, 0.4621171573]
    np.testing.assert_allclose(kept[0, :, 0], [*backward, 0], atol=1e-6)
    np.testing.assert_allclose(turned[0, :, 0], [*backward[::-1], 0], atol=1e-6)


def test_a_sequence_in_two_parts_with_the_carry_between():
    net = nn.StackedRNN([nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.GRUCell(5))])
    variables = parameters(net, X, train=False)

    @jax.jit
    def run(variables, x):
        whole = net.apply(variables, x, train=False)
        carries, first = net.apply(variables, x[:, :2], train=False)
        carries, second = net.apply(variables, x[:, 2:], train=False, initial_carry=carries)
        return whole, (carries, jnp.concatenate([first, second], axis=1))

    close(*run(variables, X), 1e-6)


def test_dropout_stands_between_layers_only(key):
    x = normal(0, 8, 6, 16)
    net = nn.StackedRNN([nn.RNN(nn.GRUCell(16)) for _ in range(2)], dropout_rate=0.25)
    variables = parameters(net, x, train=False)

    @jax.jit
    def run(variables, x):
        def apply(train):
            _, state = net.apply(
                variables,
                x,
                train=train,
                rngs={"dropout": key},
                capture_intermediates=True,
                mutable="intermediates",
            )
            kept = state["intermediates"]
            between = kept["Dropout_0"]["__call__"][0]
            layers = [kept[f"layers_{number}"]["__call__"][0][1] for number in (0, 1)]
            second = net.layers[1].clone(parent=None)
            alone = second.apply({"params": variables["params"]["layers_1"]}, between)[1]
            return *layers, between, kept["__call__"][0][1], alone

        return apply(True), apply(False)

    for (first, second, between, out, alone), train in zip(run(variables, x), (True, False)):
        np.testing.assert_array_equal(out, second)
        np.testing.assert_allclose(alone, second, atol=1e-6)
        kept = between != 0
        np.testing.assert_allclose(between[kept], first[kept] / (0.75 if train else 1), rtol=1e-6)
        share = kept.mean()
        assert abs(share - 0.75) < 5 * np.sqrt(0.1875 / kept.size) if train else share == 1


def test_stacked_parameter_count():  # 001-1.21
    net = nn.StackedRNN([nn.RNN(nn.SimpleCell(8)) for _ in range(3)])
    variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), normal(0, 1, 2, 4))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 394 - 8 * 2 - 2
    assert nn.recurrent_param_count(4, 8, num_layers=3) == 394 - 8 * 2 - 2


def test_linear_recurrence_keeps_its_worked_powers():  # 000-G17
    def lag(weight, steps):
        cell = nn.SimpleCell(1, use_bias=False, activation_fn=nn.identity)
        params = {"i": {"kernel": jnp.ones((1, 1))}, "h": {"kernel": jnp.full((1, 1), weight)}}
        x = jnp.zeros((1, steps + 1, 1))
        return jax.jit(jax.grad(lambda x: nn.RNN(cell).apply({"params": {"cell": params}}, x)[1][0, -1, 0]))(
            x
        )[0, 0]

    for weight, steps, expected in ((0.1, 3, 1e-3), (0.5, 10, 9.77e-4), (1.1, 100, 13_780.6)):
        np.testing.assert_allclose(lag(weight, steps)[0], expected, rtol=1e-3)


def test_float64_stays_float64():
    with jax.enable_x64(True):
        layer = nn.RNN(nn.GRUCell(4, param_dtype=jnp.float64))
        x = np.asarray(X, np.float64)
        variables = jax.tree.map(np.float64, parameters(layer, x))
        carry, y = jax.jit(layer.apply)(variables, x)
        assert carry.dtype == y.dtype == np.float64
        params, h = variables["params"]["cell"], np.zeros((4, 4))
        for step in range(6):
            u = {g: x[:, step] @ params[f"i{g}"]["kernel"] + params[f"i{g}"]["bias"] for g in "rzn"}
            q = {g: h @ params[f"h{g}"]["kernel"] for g in "rzn"}
            r, z = (1 / (1 + np.exp(-u[g] - q[g])) for g in "rz")
            n = np.tanh(u["n"] + r * (q["n"] + params["hn"]["bias"]))
            h = z * h + (1 - z) * n
        np.testing.assert_allclose(carry, h, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        pytest.param({"lengths": [6, 2, 5, 7]}, ValueError, "lengths must be between 0 and 6", id="long"),
        pytest.param({"lengths": [6, 2, 5]}, ValueError, r"lengths must have shape \(4\)", id="lengths"),
        pytest.param({"lengths": [6.0, 2, 5, 1]}, TypeError, "lengths must be integers", id="float-lengths"),
        pytest.param({"mask": MASK.astype(int)}, TypeError, "mask must be bool", id="mask-dtype"),
        pytest.param({"mask": MASK.T}, ValueError, r"mask must have shape \(4, 6\)", id="mask"),
        pytest.param({"mask": MASK, "lengths": LENGTHS}, ValueError, "mask must be None", id="both"),
        pytest.param({"initial_carry": X[:, 0]}, ValueError, "carry must have the shapes", id="carry"),
        pytest.param({"x": X[0]}, ValueError, "x must have rank 3", id="rank"),
        pytest.param({"x": X.astype(int)}, TypeError, "x must be floating", id="dtype"),
    ],
)
def test_rnn_bad_input(settings, error, match, key):
    layer = nn.RNN(nn.LSTMCell(4))
    with pytest.raises(error, match=match):
        jax.eval_shape(
            lambda: layer.init(key, settings.get("x", X), **{k: v for k, v in settings.items() if k != "x"})
        )


@pytest.mark.parametrize(
    ("make", "settings", "match"),
    [
        pytest.param(
            lambda: nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(5)), "sum"),
            {},
            "shape of forward",
            id="sum",
        ),
        pytest.param(
            lambda: nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4)), "mean"),
            {},
            "merge must be",
            id="merge",
        ),
        pytest.param(
            lambda: nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4))),
            {"initial_carry": (None,)},
            "initial_carry must be a pair",
            id="pair",
        ),
        pytest.param(
            lambda: nn.StackedRNN([]), {"train": False}, "layers must have at least one", id="layers"
        ),
        pytest.param(
            lambda: nn.StackedRNN([nn.RNN(nn.GRUCell(4))]),
            {"train": False, "initial_carry": (None, None)},
            "initial_carry must have 1 entries",
            id="carries",
        ),
        pytest.param(
            lambda: nn.StackedRNN([nn.RNN(nn.GRUCell(4))] * 2, dropout_rate=1.0),
            {"train": False},
            "rate must be at least 0 and below 1",
            id="rate",
        ),
        pytest.param(
            lambda: nn.RNN(linen.GRUCell(4)), {"return_gates": True}, "return_gates must be False", id="gates"
        ),
    ],
)
def test_wrapper_bad_input(make, settings, match, key):
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(lambda: make().init(key, X, **settings))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(
            lambda: nn.recurrent_params_from_torch({"weight_hr_l0": np.ones((2, 2))}), "names", id="proj"
        ),
        pytest.param(
            lambda: nn.recurrent_params_from_torch({"weight_ih_l0": np.ones((4, 2))}),
            "all parts",
            id="missing",
        ),
        pytest.param(
            lambda: nn.recurrent_params_from_torch(
                {"weight_ih_l1": np.ones((4, 2)), "weight_hh_l1": np.ones((4, 4))}
            ),
            "all parts of layer 0",
            id="layer",
        ),
        pytest.param(
            lambda: nn.recurrent_params_from_torch(
                {"weight_ih_l0": np.ones((5, 2)), "weight_hh_l0": np.ones((5, 2))}
            ),
            "G H rows",
            id="shape",
        ),
        pytest.param(
            lambda: nn.recurrent_params_to_torch({"layers_0": {"cell": {"ii": {}}}}), "those of", id="cell"
        ),
        pytest.param(lambda: nn.recurrent_params_to_torch({"cell": {}}), "those of RNN", id="layers"),
    ],
)
def test_weight_conversion_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()

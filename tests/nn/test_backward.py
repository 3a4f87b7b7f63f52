"""Backward passes by hand: published numbers, PyTorch, autodiff, finite differences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import backends, nn


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected, tolerance=1e-5):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_published_convolution():  # 004b-conv
    x = jnp.arange(1.0, 17).reshape(4, 4)
    kernel, grad = jnp.array([[1.0, 0], [0, -1]]), jnp.array([[1.0, 2, 0], [0, -1, 1], [3, 0, 1]])

    @jax.jit
    def forms(x, kernel, grad):
        outputs = nn.cross_correlate(x, kernel), nn.convolve(x, kernel)
        return *outputs, nn.conv_backward(x, kernel, grad, flipped=True)

    correlated, convolved, flipped = forms(x, kernel, grad)
    np.testing.assert_array_equal(correlated, np.full((3, 3), -5))
    np.testing.assert_array_equal(convolved, np.full((3, 3), 5))
    np.testing.assert_array_equal(flipped.kernel, [[79, 72], [51, 44]])
    with backends.plain_forms():  # few operations to compile one by one
        gradients = nn.conv_backward(x, kernel, grad)
    np.testing.assert_array_equal(gradients.kernel, [[44, 51], [72, 79]])
    np.testing.assert_array_equal(gradients.x, [[1, 2, 0, 0], [0, -2, -1, 0], [3, 0, 2, -1], [0, -3, 0, -1]])
    np.testing.assert_array_equal(flipped.x, -gradients.x)  # this kernel, turned, is its negative
    assert gradients.bias == flipped.bias == 7


# input, kernel, settings
GEOMETRIES = [
    pytest.param((2, 7, 6, 3), (3, 2, 3, 4), {}, id="valid"),
    pytest.param((2, 9, 8, 2), (3, 3, 2, 3), {"strides": (3, 2)}, id="strides-with-a-rest"),
    pytest.param((1, 9, 8, 2), (2, 2, 2, 1), {"strides": 3, "padding": 1}, id="stride-above-kernel"),
    pytest.param(
        (1, 7, 8, 2), (3, 2, 2, 2), {"padding": ((2, 0), (1, 3)), "dilation": (2, 3)}, id="dilation"
    ),
    pytest.param(
        (2, 7, 7, 4), (3, 3, 2, 6), {"strides": 2, "padding": 1, "dilation": 2, "groups": 2}, id="groups"
    ),
    pytest.param((2, 6, 5, 3), (3, 3, 1, 3), {"padding": "SAME", "groups": 3}, id="depthwise"),
    pytest.param((2, 8, 3), (4, 3, 2), {"padding": "CAUSAL", "dilation": 2, "strides": 2}, id="one-axis"),
    pytest.param((8, 4, 5, 3, 8), (2, 1, 3, 8, 2), {"padding": 3}, id="three-axes-wide-padding"),
]


def torchs_gradients(x, kernel, grad, static):
    """Of conv1d, 2d or 3d, in our order of axes."""
    torch = pytest.importorskip("torch")
    rank, (k, *_) = x.ndim - 2, kernel.shape
    strides, dilation = (
        np.broadcast_to(static.get(name, 1), rank).tolist() for name in ("strides", "dilation")
    )
    padding = static.get("padding", 0)
    padding = {"SAME": k // 2, "CAUSAL": ((dilation[0] * (k - 1), 0),)}.get(padding, padding)
    pairs = ((padding,) * 2,) * rank if isinstance(padding, int) else padding
    there = [
        torch.tensor(np.ascontiguousarray(a), requires_grad=True)
        for a in (
            np.moveaxis(x, -1, 1),
            np.moveaxis(kernel, (-1, -2), (0, 1)),
            np.zeros_like(kernel[(0,) * (rank + 1)]),
        )
    ]
    padded = torch.nn.functional.pad(there[0], list(itertools.chain(*reversed(pairs))))
    convolution = getattr(torch.nn.functional, f"conv{rank}d")
    y = convolution(padded, *there[1:], stride=strides, dilation=dilation, groups=static.get("groups", 1))
    y.backward(torch.tensor(np.ascontiguousarray(np.moveaxis(grad, -1, 1))))
    dx, dkernel, dbias = (a.grad.numpy() for a in there)
    return np.moveaxis(dx, 1, -1), np.moveaxis(dkernel, (0, 1), (-1, -2)), dbias


@pytest.mark.parametrize(("shape", "kernel_shape", "static"), GEOMETRIES)
def test_convolution_is_torchs(shape, kernel_shape, static):
    x, kernel = normal(0, *shape), normal(1, *kernel_shape)
    outs = jax.eval_shape(functools.partial(nn.cross_correlate, channels=True, **static), x, kernel).shape
    grad = normal(2, *outs)
    ours = jax.jit(functools.partial(nn.conv_backward, channels=True, **static))(x, kernel, grad)
    for got, expected in zip(ours, torchs_gradients(x, kernel, grad, static)):
        close(got, expected, 2e-5)


@pytest.mark.parametrize("forward", [nn.cross_correlate, nn.convolve], ids=["as-is", "flipped"])
def test_convolution_is_autodiffs(forward):
    static = {"strides": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}
    x, kernel, grad = normal(0, 7, 6), normal(1, 3, 2), normal(2, 3, 7)

    @jax.jit
    def both(x, kernel, grad):
        _, pullback = jax.vjp(lambda x, k, b: forward(x, k, **static) + b, x, kernel, x[0, 0])
        return nn.conv_backward(x, kernel, grad, flipped=forward is nn.convolve, **static), pullback(grad)

    for got, expected in zip(*both(x, kernel, grad)):
        close(got, expected)


def test_convolution_relu_pool_against_finite_differences():  # 004b-2.13
    with jax.enable_x64(True):
        x, kernel, weight = (
            np.random.default_rng(i).normal(size=s) for i, s in enumerate([(6, 6), (3, 3), (1, 2, 2, 1)])
        )

        def maps(x, kernel):
            return nn.convolve(x, kernel)[None, ..., None]

        @jax.jit
        def loss(x, kernel):
            return jnp.sum(nn.max_pool(jax.nn.relu(maps(x, kernel)), 2) * weight)

        @jax.jit
        def by_hand(x, kernel):
            net = maps(x, kernel)
            grad = nn.pool_backward(jax.nn.relu(net), jnp.asarray(weight), 2) * (net > 0)
            return nn.conv_backward(x, kernel, grad[0, ..., 0], flipped=True)

        gradients = by_hand(x, kernel)
        for place in [(0, 0), (1, 2), (2, 1)]:
            for number, array in enumerate((x, kernel)):
                step = np.zeros_like(array)
                step[place] = 1e-6
                ahead, behind = ([x, kernel] for _ in range(2))
                ahead[number], behind[number] = array + step, array - step
                slope = (loss(*ahead) - loss(*behind)) / 2e-6
                np.testing.assert_allclose(gradients[number][place], slope, atol=1e-8)


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        pytest.param((3, 2), (3, 2), 0, id="disjoint"),
        pytest.param((3, 3), (2, 2), 0, id="overlapping"),
        pytest.param((2, 3), (3, 1), 1, id="padded"),
        pytest.param((4,), (3,), 2, id="one-axis"),
    ],
)
def test_pooling_is_torchs(window, strides, padding):
    torch = pytest.importorskip("torch")
    rank = len(window)
    x = np.random.default_rng(0).integers(0, 4, (2, 7, 8, 2)[-rank - 2 :]).astype(np.float32)  # with ties
    pools = {name: getattr(torch.nn.functional, f"{name}_pool{rank}d") for name in ("max", "avg")}
    there = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    theirs = [
        pools["max"](there, window, strides, padding),
        pools["avg"](there, window, strides, padding),
        pools["avg"](there, window, strides, padding, count_include_pad=False),
    ]
    grad = normal(1, *theirs[0].shape)

    @jax.jit
    def by_hand(x, grad):
        back = functools.partial(nn.pool_backward, x, grad, window, strides, padding)
        averages = back(reduction="average"), back(reduction="average", count_padding=False)
        return back(ties="first"), *averages, back(reduction="sum")

    *ours, summed = by_hand(x, np.moveaxis(grad, 1, -1))
    for got, y in zip(ours, theirs):
        (expected,) = torch.autograd.grad(y, there, torch.tensor(grad))
        close(got, np.moveaxis(expected.numpy(), 1, -1), 1e-6)
    close(summed, ours[1] * np.prod(window))


def test_equal_maxima_share():
    x, grad = np.random.default_rng(0).integers(0, 3, (2, 6, 6, 2)).astype(np.float32), normal(1, 2, 3, 3, 2)

    @jax.jit
    def both(x, grad):
        return nn.pool_backward(x, grad, 2), jax.vjp(lambda x: nn.max_pool(x, 2), x)[1](grad)[0]

    by_hand, autodiff = both(x, grad)
    close(by_hand, autodiff, 1e-6)
    corners = nn.pool_backward(jnp.ones((1, 1, 2, 1)), jnp.full((1, 1, 1, 1), 8.0), (1, 2))
    np.testing.assert_array_equal(corners, np.full((1, 1, 2, 1), 4))


def forwards(x, input_kernel, recurrent_kernel, output_kernel, bias, first, activation=jnp.tanh):
    """Outputs and states, for autodiff."""

    def step(state, now):
        state = activation(now @ input_kernel + state @ recurrent_kernel + bias[None])
        return state, state

    _, states = jax.lax.scan(step, first, jnp.moveaxis(x, 1, 0))
    states = jnp.moveaxis(states, 0, 1)
    return states @ output_kernel, states


def scalar(x, w_x, w_s, w_y, output_grad, **more):
    """`rnn_backward` of a net with one unit, and a list of numbers for each result."""
    ones = [jnp.full((1, 1), w, jnp.float32) for w in (w_x, w_s, w_y)]
    x, output_grad = (jnp.asarray(a, jnp.float32).reshape(1, -1, 1) for a in (x, output_grad))
    for name, shape in (("bias", (1,)), ("initial_state", (1, 1))):
        more[name] = jnp.full(shape, more.get(name, 0), jnp.float32)
    return jax.tree.map(lambda a: a.ravel(), BACKWARD(x, *ones, output_grad, **more))


BACKWARD = jax.jit(nn.rnn_backward, static_argnames="activation")


def test_published_squared_errors():  # 000-G12
    y, d = np.array([0.554540588712, -0.155488473114, 0.174366270134]), np.array([0.2, 0.1, -0.3])
    net = (1, -1, 0.5), 0.5, 0.8, 1.2
    gradients = scalar(*net, 2 * (y - d)).gradients
    close(gradients.input_kernel, [1.124905111], 1e-6)
    close(gradients.recurrent_kernel, [-0.017917590], 1e-6)
    close(gradients.output_kernel, [0.531743561], 1e-6)
    last = scalar(*net, 2 * (y - d) * [0, 0, 1])
    close(last.gradients.output_kernel, [0.137855795335], 1e-6)
    close(last.terms.recurrent_kernel, [0, 0.405084837283, -0.144402358450], 1e-6)
    close(last.gradients.recurrent_kernel, [0.260682478833], 1e-6)
    close(last.terms.input_kernel, [0.551510450431, -0.876584716493, 0.557220823737], 1e-6)
    close(last.gradients.input_kernel, [0.232146557675], 1e-6)


def test_published_terms():  # 004b-bptt
    result = scalar((1, -0.5, 2), 0.5, 0.8, 1.2, [0, 0, -2 * (0.7 - 0.95856543)])
    close(result.gradients.input_kernel, [0.47204969], 1e-6)
    close(result.gradients.recurrent_kernel, [0.10860399], 1e-6)
    close(result.gradients.output_kernel, [0.41308647], 1e-6)
    close(result.terms.recurrent_kernel, [0, 0.08185002, 0.02675397], 1e-6)
    close(result.terms.input_kernel, [0.11143627, -0.08855982, 0.44917324], 1e-6)


def test_immediate_and_total_derivatives():  # 001-G16, 001-7b
    h = np.array([0.2, 0.1973753, 0.1961138, 0.1955072])
    result = scalar((0, 0, 0), 0, 0.5, 1, [0, 0, 1], bias=0.1, initial_state=0.2)
    terms = np.asarray(result.terms.recurrent_kernel)
    close(terms, [0.0444380, 0.0912650, 0.1886177], 1e-6)
    close(result.gradients.recurrent_kernel, [0.3243207], 1e-6)
    close(result.states[0], 0.2311966, 1e-6)  # dh_3 / dh_1
    close((h[3] - 1) * result.gradients.recurrent_kernel, [-0.2609137], 1e-6)
    # The printed sum of total derivatives dh_k/dW, each times dh_3/dh_k.
    slopes = 0.5 * (1 - h[1:] ** 2)
    totals = [h[0] * (1 - h[1] ** 2)]
    for k in (1, 2):
        totals.append(h[k] * (1 - h[k + 1] ** 2) + slopes[k] * totals[-1])
    printed = totals[0] * slopes[1] * slopes[2] + totals[1] * slopes[2] + totals[2]
    assert printed == pytest.approx(0.5044616, abs=1e-6)
    assert abs(printed - terms.sum()) > 0.1


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        pytest.param(3, (-0.3521602201, 0.6702013266, 0.1544419705), id="002-D5-full"),
        pytest.param(2, (-0.4079431353, 0.7280657658, 0.0658165375), id="002-D5-segments-of-2"),
        pytest.param(1, (-0.4079431353, 0.8086331067, 0.1463838783), id="002-D5-segments-of-1"),
    ],
)
def test_truncation(length, expected):
    x, h = (1, -1, 0.5), [0, 0.7615941560, -0.5505728129, 0.2210060678]
    total = np.zeros(3)
    for start in range(0, 3, length):
        end = min(start + length, 3)
        rest = [0] * (3 - end + start)  # steps without an error, so that all segments are equally long
        net = (*x[start:end], *rest), 1, 0.5, 1, (*h[start + 1 : end + 1], *rest)
        grads = scalar(*net, bias=0, initial_state=h[start]).gradients
        total += np.concatenate([grads.recurrent_kernel, grads.input_kernel, grads.bias])
    close(total, expected, 1e-6)


def test_vanishing_and_exploding():
    for weight, lag in ((0.1, 3), (0.5, 10), (0.9, 100), (1.1, 100)):  # 000-G17
        states = scalar(np.zeros(101), 0, weight, 1, np.eye(101)[100], activation=nn.identity).states
        assert states[100 - lag] == pytest.approx(weight**lag, rel=1e-4)
    net = scalar(normal(0, 5), 1, 0.01, 1, [0, 0, 0, 0, 1], activation=nn.sigmoid)  # 002-D6
    ratios = net.states[:-1] / net.states[1:]
    assert (ratios > 0).all()
    assert (ratios <= 0.0025).all()
    assert net.states[0] < 0.0025**4


NET = {
    "x": (3, 5, 2),
    "w_x": (2, 4),
    "w_s": (4, 4),
    "w_y": (4, 3),
    "b": (4,),
    "first": (3, 4),
    "grad": (3, 5, 3),
}


def test_recurrence_is_autodiffs():
    activation = nn.sigmoid
    x, w_x, w_s, w_y, b, first, grad = (normal(i, *shape) for i, shape in enumerate(NET.values()))

    @jax.jit
    def both(x, w_x, w_s, w_y, b, first, grad):
        run = functools.partial(forwards, activation=activation)
        _, pullback = jax.vjp(lambda *a: run(*a)[0], x, w_x, w_s, w_y, b, first)
        return nn.rnn_backward(x, w_x, w_s, w_y, grad, b, first, activation), pullback(grad)

    ours, (dx, dw_x, dw_s, dw_y, db, dfirst) = both(x, w_x, w_s, w_y, b, first, grad)
    for got, expected in zip(
        (*ours.gradients, ours.initial_state, ours.x), (dw_x, dw_s, db, dw_y, dfirst, dx)
    ):
        close(got, expected)
    for term, whole in zip(ours.terms, ours.gradients):
        close(term.sum(0), whole)
        assert term.shape == (5, *whole.shape)


def test_recurrence_is_torchs():
    torch = pytest.importorskip("torch")
    x, w_x, w_s, w_y, b, first, grad = (normal(i, *shape) for i, shape in enumerate(NET.values()))
    net = torch.nn.RNN(2, 4, batch_first=True)
    with torch.no_grad():
        for there, here in zip(
            (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0), (w_x.T, w_s.T, b, 0 * b)
        ):
            there.copy_(torch.tensor(here))
    x_there, first_there = torch.tensor(x, requires_grad=True), torch.tensor(first[None], requires_grad=True)
    states, _ = net(x_there, first_there)
    states.retain_grad()
    (states @ torch.tensor(w_y)).backward(torch.tensor(grad))
    ours = BACKWARD(x, w_x, w_s, w_y, grad, b, first)
    close(ours.gradients.input_kernel, net.weight_ih_l0.grad.numpy().T)
    close(ours.gradients.recurrent_kernel, net.weight_hh_l0.grad.numpy().T)
    close(ours.gradients.bias, net.bias_ih_l0.grad.numpy())
    close(ours.initial_state, first_there.grad.numpy()[0])
    close(ours.x, x_there.grad.numpy())


def test_vmap_and_bfloat16():  # eager against jit: the published numbers above
    x, w_x, w_s, w_y, *_, grad = (normal(i, *shape) for i, shape in enumerate(NET.values()))
    weights, kernel = (w_x, w_s, w_y), normal(1, 2, 7, 8)

    def through_time(x, grad):
        return nn.rnn_backward(x[None], *(jnp.asarray(w, x.dtype) for w in weights), grad[None])

    calls = [
        (
            lambda x, g: nn.conv_backward(x, jnp.asarray(kernel, x.dtype), g, channels=True),
            normal(0, 2, 8, 4, 7),
            normal(2, 2, 8, 3, 8),
        ),
        (lambda x, g: nn.pool_backward(x, g, (2, 1)), normal(3, 2, 1, 6, 2, 1), normal(4, 2, 1, 3, 2, 1)),
        (through_time, x, grad),
    ]

    @jax.jit
    def all_of_them(arrays):
        results = []
        for (function, *_), both in zip(calls, arrays):
            one = [a[1] for a in both]
            half = function(*(a.astype(jnp.bfloat16) for a in one))
            results.append((function(*one), jax.vmap(function)(*both), half))
        return results

    for results in all_of_them([arrays for _, *arrays in calls]):
        for one, many, half in zip(*map(jax.tree.leaves, results)):
            close(many[1], one)
            assert half.dtype == jnp.bfloat16
            np.testing.assert_allclose(half.astype(jnp.float32), one, rtol=0.05, atol=0.1)


X, K = jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 2, 2))
W, S = jnp.zeros((2, 3)), jnp.zeros((3, 3))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(
            lambda: nn.conv_backward(X, K, X, channels=True),
            ValueError,
            "output_grad must have shape",
            id="conv",
        ),
        pytest.param(
            lambda: nn.conv_backward(X, K, X.astype(int), channels=True),
            TypeError,
            "output_grad must be",
            id="dtype",
        ),
        pytest.param(
            lambda: nn.conv_backward(X[0, ..., 0], K[..., 0, 0], X[0, ..., 0]),
            ValueError,
            "output_grad",
            id="plain",
        ),
        pytest.param(lambda: nn.pool_backward(X, X, 2), ValueError, "output_grad must have shape", id="pool"),
        pytest.param(
            lambda: nn.pool_backward(X, X, 2, reduction="min"), ValueError, "reduction must", id="reduction"
        ),
        pytest.param(
            lambda: nn.pool_backward(X, X, 2, ties="last"), ValueError, "ties must be one", id="ties"
        ),
        pytest.param(
            lambda: nn.rnn_backward(X[0], W, S, S, X[0]), ValueError, "output_grad must have", id="rnn"
        ),
        pytest.param(lambda: nn.rnn_backward(X, W, S, S, X), ValueError, "x must have rank 3", id="rnn-rank"),
        pytest.param(
            lambda: nn.rnn_backward(X[0], S, S, S, X[0]), ValueError, "input_kernel must", id="rnn-kernel"
        ),
        pytest.param(
            lambda: nn.rnn_backward(X[0], W, S, S, jnp.zeros((4, 4, 3)), jnp.zeros(2)),
            ValueError,
            "bias must",
            id="bias",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()

"""Loops keep every convolution in the order that XLA's CPU backend runs fast, and change no value."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxdl import loops
from jaxdl.train.adversarial import AdversarialState, make_adversarial_step, unrolled
from jaxdl.train.gradients import backprop, microbatched
from jaxdl.train.recurrent import make_truncated_bptt_step
from jaxdl.train.rollout import create_agent_state, make_on_policy_step, make_replay_step
from jaxdl.train.state import create_train_state
from jaxdl.train.stepping import population_step, scan_steps
from jaxdl.train.update import make_update

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only the CPU backend needs this")

# name: dimension numbers, input shape, kernel shape, settings
CONVOLUTIONS = {
    "nhwc": (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 3), (3, 2, 3, 4), {}),
    "nchw": (("NCHW", "OIHW", "NCHW"), (2, 3, 6, 5), (4, 3, 3, 2), {}),
    "chwn": (("CHWN", "IHWO", "CHWN"), (3, 6, 5, 2), (3, 3, 2, 4), {}),
    "strided": (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 3), (3, 2, 3, 4), {"window_strides": (2, 1)}),
    "dilated": (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 3), (3, 2, 3, 4), {"rhs_dilation": (2, 1)}),
    "transposed": (
        ("NHWC", "HWIO", "NHWC"),
        (2, 4, 3, 3),
        (3, 2, 3, 4),
        {"lhs_dilation": (2, 2), "padding": [(1, 1), (1, 1)]},
    ),
    "grouped": (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 6), (3, 2, 2, 9), {"feature_group_count": 3}),
    "grouped nchw": (("NCHW", "OIHW", "NCHW"), (2, 6, 6, 5), (9, 2, 3, 2), {"feature_group_count": 3}),
    "depthwise": (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 3), (3, 2, 1, 3), {"feature_group_count": 3}),
    "one-dimensional": (("NWC", "WIO", "NWC"), (2, 7, 3), (3, 3, 4), {}),
    "three-dimensional": (("NDHWC", "DHWIO", "NDHWC"), (2, 4, 3, 3, 2), (2, 2, 2, 2, 3), {}),
}


def convolution(name):
    numbers, input_shape, kernel_shape, settings = CONVOLUTIONS[name]
    settings = {"window_strides": (1,) * (len(input_shape) - 2), "padding": "SAME"} | settings
    x = jax.random.normal(jax.random.key(1), input_shape)
    kernel = jax.random.normal(jax.random.key(2), kernel_shape)
    return lambda x, k: jax.lax.conv_general_dilated(x, k, dimension_numbers=numbers, **settings), x, kernel


def kernel_gradient_body(name):
    convolve, x, kernel = convolution(name)

    def body(carry, scale):
        x, kernel = carry

        def loss(x, k):
            return jnp.mean(jnp.tanh(scale * convolve(x, k)))

        value, (x_grad, kernel_grad) = jax.value_and_grad(loss, argnums=(0, 1))(x, kernel)
        return (x - 0.1 * x_grad, kernel - 0.1 * kernel_grad), value

    return body, (x, kernel), jnp.asarray([0.5, 1.0, 1.5])


def slow_convolutions(jaxpr, inside=False):
    """Written apart from the library: convolutions in loops or branches that are not [N, spatial, C]."""
    found = []
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if inside and name == "conv_general_dilated":
            numbers = params["dimension_numbers"]
            last = len(numbers.lhs_spec) - 1
            canonical = numbers.lhs_spec[:2] == numbers.out_spec[:2] == (0, last)
            canonical &= numbers.rhs_spec[:2] == (last, last - 1) and params["batch_group_count"] == 1
            if not canonical:
                found.append(equation)
        loop = name in ("while", "cond") or (name == "scan" and params["unroll"] != params["length"])
        for inner in jax.tree.leaves(list(params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(inner, "eqns"):
                found += slow_convolutions(getattr(inner, "jaxpr", inner), inside or loop)
    return found


def has_loop(jaxpr):
    return any(
        equation.primitive.name == "scan" and equation.params["unroll"] != equation.params["length"]
        for equation in jaxpr.eqns
    )


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_in_a_scan_are_fast_and_equal(name):
    body, init, xs = kernel_gradient_body(name)
    plain = jax.make_jaxpr(lambda init, xs: jax.lax.scan(body, init, xs))(init, xs).jaxpr
    ours = jax.make_jaxpr(lambda init, xs: loops.scan(body, init, xs))(init, xs).jaxpr
    assert slow_convolutions(plain)  # so that the next line can fail
    assert not slow_convolutions(ours)
    assert has_loop(ours)
    want = jax.lax.scan(body, init, xs)
    chex.assert_trees_all_close(loops.scan(body, init, xs), want, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(loops.scan(body, init, xs), want)


@pytest.mark.parametrize("name", ["nhwc", "nchw", "grouped", "one-dimensional"])
def test_compiled_loop_bodies_hold_only_fast_convolutions(name):
    """XLA's own labels: `b01f_01io->b01f` is [N, spatial, C] x [spatial, I, O] -> [N, spatial, O]."""
    body, init, xs = kernel_gradient_body(name)

    def labels(scan):
        text = jax.jit(lambda init, xs: scan(body, init, xs)).lower(init, xs).compile().as_text()
        assert "while(" in text
        computations = [part for part in text.split("\n\n") if "convolution(" in part and "ENTRY" not in part]
        return set(re.findall(r"dim_labels=(\S+?)[,\s]", "\n".join(computations)))

    fast = {"b01f_01io->b01f", "b0f_0io->b0f"}
    assert labels(loops.scan)
    assert labels(loops.scan) <= fast
    assert not labels(jax.lax.scan) <= fast


def test_forward_convolutions_and_matmuls_are_scanned_as_they_are():
    convolve, x, kernel = convolution("nhwc")
    kernel = jnp.ones((3, 3, 3, 3))
    matrix = jnp.ones((4, 4))
    for body, init in [
        (lambda x, _: (convolve(x, kernel), None), x),
        (lambda w, _: (jax.grad(lambda w: jnp.sum((w @ matrix) ** 2))(w), None), matrix),
    ]:
        ours = jax.make_jaxpr(lambda init, body=body: loops.scan(body, init, length=3))(init)
        plain = jax.make_jaxpr(lambda init, body=body: jax.lax.scan(body, init, length=3))(init)
        assert has_loop(ours.jaxpr)
        assert str(ours) == str(plain)


def test_forward_convolution_of_another_layout_is_fast_too():
    convolve, x, _ = convolution("nchw")
    kernel = jnp.ones((3, 3, 3, 3))
    jaxpr = jax.make_jaxpr(lambda x: loops.scan(lambda x, _: (convolve(x, kernel), None), x, length=3))(x)
    assert not slow_convolutions(jaxpr.jaxpr)
    assert has_loop(jaxpr.jaxpr)


def test_convolutions_inside_jit_are_reached():
    body, init, xs = kernel_gradient_body("nhwc")
    jaxpr = jax.make_jaxpr(lambda init, xs: loops.scan(jax.jit(body), init, xs))(init, xs).jaxpr
    assert not slow_convolutions(jaxpr)
    assert has_loop(jaxpr)


def test_a_gradient_through_remat_is_unrolled():
    convolve, x, kernel = convolution("nhwc")

    def body(kernel, scale):
        loss = jax.checkpoint(lambda k: jnp.mean(jnp.tanh(scale * convolve(x, k)) ** 2))
        value, grad = jax.value_and_grad(loss)(kernel)
        return kernel - grad, value

    scales = jnp.asarray([0.5, 1.0])
    jaxpr = jax.make_jaxpr(lambda k: loops.scan(body, k, scales))(kernel).jaxpr
    assert not slow_convolutions(jaxpr)
    assert not has_loop(jaxpr)
    chex.assert_trees_all_close(
        loops.scan(body, kernel, scales), jax.lax.scan(body, kernel, scales), rtol=1e-5, atol=1e-6
    )


def test_a_loop_that_is_differentiated_later_is_unrolled():
    convolve, x, _ = convolution("nhwc")
    kernel = 0.1 * jnp.ones((3, 3, 3, 3))

    def loss(scan, kernel):
        return jnp.sum(scan(lambda x, _: (jnp.tanh(convolve(x, kernel)), None), x, length=2)[0])

    ours = partial(loss, partial(loops.scan, differentiated=True))
    plain = partial(loss, jax.lax.scan)
    assert slow_convolutions(jax.make_jaxpr(jax.grad(plain))(kernel).jaxpr)
    assert not slow_convolutions(jax.make_jaxpr(jax.grad(ours))(kernel).jaxpr)
    np.testing.assert_allclose(jax.grad(ours)(kernel), jax.grad(plain)(kernel), rtol=1e-5)


def test_branches_are_fast_and_equal():
    body, init, xs = kernel_gradient_body("grouped")

    def taken(cond, flag):
        return cond(flag, lambda c: body(c, xs[0]), lambda c: (c, jnp.float32(0)), init)

    assert slow_convolutions(jax.make_jaxpr(lambda flag: taken(jax.lax.cond, flag))(True).jaxpr)
    assert not slow_convolutions(jax.make_jaxpr(lambda flag: taken(loops.cond, flag))(True).jaxpr)
    for flag in (True, False):
        want = jax.jit(lambda flag: taken(jax.lax.cond, flag))(flag)
        chex.assert_trees_all_close(jax.jit(lambda flag: taken(loops.cond, flag))(flag), want, atol=1e-6)


def test_derivatives_of_a_rewritten_loop_are_those_of_the_original():
    """Forward mode and reverse mode over a loop whose body holds gradients already."""
    body, init, xs = kernel_gradient_body("grouped")

    def final(scan, xs):
        return scan(body, init, xs)[1].sum()

    for derivative in (jax.jacfwd, jax.grad):
        got = derivative(lambda xs: final(loops.scan, xs))(xs)
        want = derivative(lambda xs: final(jax.lax.scan, xs))(xs)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_vmap_of_a_rewritten_loop():
    body, init, xs = kernel_gradient_body("nhwc")
    many = jnp.stack([xs, 2 * xs])
    got = jax.vmap(lambda xs: loops.scan(body, init, xs))(many)
    want = jax.vmap(lambda xs: jax.lax.scan(body, init, xs))(many)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


def test_shard_map_of_a_rewritten_loop():
    body, init, xs = kernel_gradient_body("nhwc")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def local(scale):
        carry = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "data", to="varying"), init)
        return loops.scan(body, carry, scale[0])[1][None]

    many = jnp.stack([xs, 2 * xs])
    got = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(many)
    want = jax.vmap(lambda xs: jax.lax.scan(body, init, xs)[1])(many)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_body_is_traced_once():
    traces = 0

    def body(carry, x):
        nonlocal traces
        traces += 1
        return carry + x, carry

    jax.make_jaxpr(lambda xs: loops.scan(body, jnp.zeros(()), xs))(jnp.ones(3))
    assert traces == 1


def test_is_lax_scan():
    """Carries that start as Python numbers, loops without inputs, empty loops, values closed over, no jit."""
    offset = jnp.float32(2)

    def body(carry, x):
        return carry + offset * x, {"carry": carry}

    xs = jnp.arange(3.0)
    for scan in (loops.scan, jax.lax.scan):
        carry, ys = scan(body, 0.0, xs)
        np.testing.assert_allclose(carry, 6)
        np.testing.assert_allclose(ys["carry"], [0, 0, 2])
        assert scan(lambda c, _: (c * 2, None), 1, length=5) == (32, None)
        assert scan(body, jnp.zeros(()), jnp.zeros((0,)))[1]["carry"].shape == (0,)
    with jax.disable_jit():
        seen = []
        loops.scan(lambda carry, x: (seen.append(float(x)) or carry, carry), jnp.zeros(()), xs)
    assert seen == [0, 1, 2]


def network(params, x):
    """Two convolutions, so that there are gradients of a kernel and of an input."""
    for kernel in (params["first"], params["second"]):
        x = jnp.tanh(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC))
    return x


NHWC = ("NHWC", "HWIO", "NHWC")
IMAGES = jax.random.normal(jax.random.key(3), (4, 4, 4, 2))
TX = optax.sgd(0.1, momentum=0.9)


def network_state(**model_state):
    keys = jax.random.split(jax.random.key(4))
    params = {
        name: 0.3 * jax.random.normal(key, (3, 3, 2, 2)) for name, key in zip(("first", "second"), keys)
    }
    return create_train_state(jax.random.key(5), {"params": params, **model_state}, TX)


def denoise(params, model_state, *args):
    batch = args[-2]
    return jnp.mean((network(params, batch) - batch) ** 2), (model_state, {})


def film(params, model_state, batch, key):
    """A recurrent network whose cell is a convolution; film [B, T, H, W, C]."""
    carry, loss = model_state["carry"], 0.0
    for t in range(batch.shape[1]):
        carry = network(params, carry + batch[:, t])
        loss += jnp.mean((carry - batch[:, t]) ** 2) / batch.shape[1]
    return loss, (model_state | {"carry": carry}, {})


def fool(params, model_state, discriminator, batch, key):
    return jnp.mean(network(discriminator.params, network(params, batch))), (model_state, {})


def unmask(params, model_state, generator, batch, key):
    difference = network(params, network(generator.params, batch)) - network(params, batch)
    return jnp.mean(difference), (model_state, {})


def collect_images(learner, env_state, key):
    return env_state, IMAGES, {}


def acting(step, /, **changes):
    return step, create_agent_state(jax.random.key(6), network_state(), ()).replace(**changes), None


def learning(grad_fn, images=IMAGES):
    return make_update(grad_fn, TX), network_state(), images


def recurring(**settings):
    step = make_truncated_bptt_step(backprop(film), TX, window=2, **settings)
    return step, network_state(carry=jnp.zeros_like(IMAGES)), jnp.stack([IMAGES] * 5, axis=1)


def competing(forge, images, **settings):
    judge = make_update(backprop(unmask), TX)
    forge = make_update(backprop(forge(judge)), TX)
    step = make_adversarial_step(judge, forge, **settings)
    return step, AdversarialState(network_state(), network_state()), images


def replaying():
    update, _, _ = learning(backprop(denoise))
    step = make_replay_step(
        collect_images, lambda _, new: new, lambda buffer, _: buffer, update, updates_per_step=2, warmup=1
    )
    return acting(step, env_state=((), IMAGES), step=jnp.ones((), jnp.int32))


def several(step, state, images):
    return scan_steps(step, 2), state, jnp.stack([images] * 2)


def members(step, state, images):
    states = jax.vmap(lambda i: state.replace(step=i))(jnp.arange(2))
    return population_step(step), states, images


# name: () -> (step, state, batch)
STEPS = {
    "microbatched": lambda: learning(microbatched(backprop(denoise), 2)),
    "bptt": recurring,
    "bptt accumulated": lambda: recurring(accumulate=True),
    "adversarial": lambda: competing(
        lambda judge: fool, jnp.stack([IMAGES] * 2), discriminator_steps=2, generator_steps=2
    ),
    "unrolled": lambda: competing(lambda judge: unrolled(fool, judge, 2), IMAGES),
    "on-policy": lambda: acting(
        make_on_policy_step(collect_images, learning(backprop(denoise))[0], epochs=2)
    ),
    "on-policy in minibatches": lambda: acting(
        make_on_policy_step(collect_images, learning(backprop(denoise))[0], epochs=2, num_minibatches=2)
    ),
    "replay": replaying,
    "scan_steps": lambda: several(*learning(backprop(denoise))),
    "scan_steps of microbatches": lambda: several(*learning(microbatched(backprop(denoise), 2))),
    "scan_steps of a population": lambda: several(*members(*learning(backprop(denoise)))),
}


@pytest.mark.parametrize("name", STEPS)
def test_no_step_leaves_a_slow_convolution_in_a_loop(name, monkeypatch):
    def trace():
        step, state, batch = STEPS[name]()
        return jax.make_jaxpr(step)(state, batch).jaxpr, jax.jit(step)(state, batch)

    ours, got = trace()
    with monkeypatch.context() as patch:
        patch.setattr(loops, "scan", lambda *args, differentiated=False, **kw: jax.lax.scan(*args, **kw))
        patch.setattr(loops, "cond", jax.lax.cond)
        plain, want = trace()
    assert slow_convolutions(plain)  # so that the next line can fail
    assert not slow_convolutions(ours)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

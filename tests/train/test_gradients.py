"""Gradient estimators against the gradient of the whole batch on one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxdl.train.gradients import averaged_over, backprop, microbatched
from jaxdl.train.state import create_train_state
from jaxdl.train.update import make_update

KEY = jax.random.key(0)


class Net(linen.Module):
    norm: bool = False

    @linen.compact
    def __call__(self, x, *, train):
        x = linen.Dense(8)(x)
        if self.norm:
            x = linen.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return linen.Dense(3)(jnp.tanh(x))


def objective_of(net):
    def objective(params, model_state, batch, key):
        logits, model_state = net.apply(
            {"params": params, **model_state}, batch["x"], train=True, mutable=list(model_state)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
        return loss, (model_state, {"accuracy": accuracy})

    return objective


def make_batch(size=16):
    rng = np.random.default_rng(0)
    return {
        "x": jnp.asarray(rng.normal(size=(size, 5)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 3, size)),
    }


def variables_of(net):
    variables = dict(net.init(KEY, make_batch()["x"], train=False))
    return variables.pop("params"), variables


@pytest.mark.parametrize("count", [1, 2, 4, 16])
def test_microbatches_equal_the_big_batch(count):
    grad_fn = backprop(objective_of(Net()))
    params, model_state = variables_of(Net())
    want = grad_fn(params, model_state, make_batch(), KEY)
    got = jax.jit(microbatched(grad_fn, count))(params, model_state, make_batch(), KEY)
    chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)


def test_microbatches_do_not_equal_the_big_batch_under_batch_norm():
    """Each slice normalises by its own statistics, and the running ones move once for each."""
    grad_fn = backprop(objective_of(Net(norm=True)))
    params, model_state = variables_of(Net(norm=True))
    _, want = grad_fn(params, model_state, make_batch(), KEY)
    (_, (after, _)), got = microbatched(grad_fn, 4)(params, model_state, make_batch(), KEY)
    gap = optax.tree.norm(jax.tree.map(jnp.subtract, got, want)) / optax.tree.norm(want)
    assert gap > 1e-2
    running = model_state
    for i in range(4):
        part = jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], make_batch())
        (_, (running, _)), _ = grad_fn(params, running, part, KEY)
    chex.assert_trees_all_close(after, running, rtol=1e-6)


def test_microbatches_draw_their_own_noise():
    def objective(params, model_state, batch, key):
        return jnp.sum(params * jax.random.normal(key)), (model_state, {"noise": jax.random.normal(key)})

    (_, (_, metrics)), grads = microbatched(backprop(objective), 4)(jnp.ones(()), {}, jnp.zeros(8), KEY)
    noise = jax.vmap(jax.random.normal)(jax.random.split(KEY, 4))
    assert len(set(np.asarray(noise).tolist())) == 4
    np.testing.assert_allclose(grads, noise.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["noise"], noise.mean(), rtol=1e-6)


def test_microbatches_pass_other_arguments_whole():
    def objective(params, model_state, opponent, batch, key):
        assert opponent.shape == (3,)
        return jnp.mean(batch) * params * opponent.sum(), (model_state, {})

    args = (jnp.ones(()), {}, jnp.arange(3.0), jnp.arange(8.0), KEY)
    _, grads = microbatched(backprop(objective), 2)(*args)
    np.testing.assert_allclose(grads, 3 * 3.5)


@pytest.mark.parametrize(("count", "message"), [(0, "num_microbatches"), (3, "multiple of num_microbatches")])
def test_microbatches_must_divide(count, message):
    grad_fn = backprop(objective_of(Net()))
    with pytest.raises(ValueError, match=message):
        microbatched(grad_fn, count)(*variables_of(Net()), make_batch(), KEY)


def split(batch, devices):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


@pytest.mark.parametrize("inner", [lambda g: g, lambda g: microbatched(g, 2)], ids=["plain", "microbatched"])
def test_average_under_pmap_equals_one_device(inner):
    objective, tx, devices = objective_of(Net()), optax.sgd(0.1, momentum=0.9), 4
    params, _ = variables_of(Net())
    state = create_train_state(KEY, {"params": params}, tx)
    one = jax.jit(make_update(backprop(objective), tx))
    many = make_update(averaged_over(inner(backprop(objective)), "data"), tx)
    many = jax.pmap(many, axis_name="data", devices=jax.devices()[:devices])
    states = jax.tree.map(lambda x: jnp.stack([x] * devices), state)
    for _ in range(3):
        state, want = one(state, make_batch())
        states, got = many(states, split(make_batch(), devices))
    for device in range(devices):
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, d=device: x[d], (states.params, states.opt_state)),
            (state.params, state.opt_state),
            rtol=1e-5,
            atol=1e-6,
        )
        chex.assert_trees_all_close(jax.tree.map(lambda x, d=device: x[d], got), want, rtol=1e-5)


@pytest.mark.parametrize("inner", [lambda g: g, lambda g: microbatched(g, 2)], ids=["plain", "microbatched"])
def test_average_under_shard_map_equals_one_device(inner):
    """Gradients of replicated inputs are summed over devices there already: their mean would be too large."""
    objective, tx, devices = objective_of(Net()), optax.sgd(0.1, momentum=0.9), 4
    params, _ = variables_of(Net())
    state = other = create_train_state(KEY, {"params": params}, tx)
    one = jax.jit(make_update(backprop(objective), tx))
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    many = make_update(averaged_over(inner(backprop(objective)), "data"), tx)
    many = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P())))
    for _ in range(3):
        state, want = one(state, make_batch())
        other, got = many(other, make_batch())
    chex.assert_trees_all_close(other.params, state.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(got, want, rtol=1e-5)


def test_average_of_batch_statistics_and_noise_over_devices():
    def objective(params, model_state, batch, key):
        noise = jax.random.normal(key)
        model_state = {"mean": batch.mean(), "count": model_state["count"] + 1}
        return params * batch.mean(), (model_state, {"noise": noise})

    def fn(batch):
        model_state = {"mean": jnp.zeros(()), "count": jnp.zeros((), jnp.int32)}
        (_, (model_state, metrics)), grads = averaged_over(backprop(objective), "data")(
            jnp.ones(()), model_state, batch, KEY
        )
        return model_state, metrics, grads

    batch = jnp.arange(8.0)
    model_state, metrics, grads = jax.pmap(fn, axis_name="data", devices=jax.devices()[:4])(split(batch, 4))
    noise = jnp.stack([jax.random.normal(jax.random.fold_in(KEY, i)) for i in range(4)])
    np.testing.assert_allclose(model_state["mean"], 3.5)
    np.testing.assert_array_equal(model_state["count"], 1)
    np.testing.assert_allclose(grads, 3.5)
    np.testing.assert_allclose(metrics["noise"], jnp.full(4, noise.mean()), rtol=1e-6)

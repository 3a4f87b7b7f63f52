"""Any number of devices computes what one computes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.train.gradients import averaged_over, backprop
from jaxdl.train.parallel import data_mesh, initialize_distributed, largest_axis_spec, pmap_step, shard_step
from jaxdl.train.state import create_train_state
from jaxdl.train.update import make_update

BATCH = 32
TX = optax.sgd(0.1, momentum=0.9)


class Net(linen.Module):
    """Convolution, batch norm, two dense layers. Under `pmap`, `axis_name` gives whole-batch statistics."""

    axis_name: str | None = None

    @linen.compact
    def __call__(self, x, *, train: bool):
        x = linen.Conv(8, (3, 3), use_bias=False)(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)(x)
        x = linen.relu(x).reshape(x.shape[0], -1)
        x = linen.relu(linen.Dense(32)(x))
        return linen.Dense(3)(x)


def make_objective(model):
    def objective(params, model_state, batch, key):
        logits, model_state = model.apply(
            {"params": params, **model_state}, batch["image"], train=True, mutable=list(model_state)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return loss.mean(), (model_state, {})

    return objective


def make_step(axis_name=None):
    grad_fn = backprop(make_objective(Net(axis_name)))
    return make_update(averaged_over(grad_fn, axis_name) if axis_name else grad_fn, TX)


def make_batches(n, size=BATCH):
    rng = np.random.default_rng(0)
    for _ in range(n):
        image = rng.normal(size=(size, 6, 6, 2)).astype(np.float32)
        yield {"image": image, "label": (image.sum(axis=(1, 2, 3)) > 0).astype(np.int32)}


def make_state(seed=0):
    variables = Net().init(jax.random.key(seed), jnp.ones((1, 6, 6, 2)), train=False)
    return create_train_state(jax.random.key(seed + 1), variables, TX)


def train(step, state, n=5, batches=make_batches):
    losses = []
    for batch in batches(n):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state


@pytest.fixture(scope="module")
def one_device():
    losses, state = train(jax.jit(make_step()), make_state())
    assert losses[-1] < losses[0]
    return losses, jax.device_get(state.params), jax.device_get(state.model_state)


def fsdp(mesh):
    return shard_step(make_step(), mesh, state_spec=largest_axis_spec(mesh, min_size=64))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: shard_step(make_step(), data_mesh(1)), id="mesh-of-1"),
        pytest.param(lambda: shard_step(make_step(), data_mesh(4)), id="mesh-of-4"),
        pytest.param(lambda: shard_step(make_step(), data_mesh()), id="mesh-of-8"),
        pytest.param(lambda: fsdp(data_mesh()), id="fsdp-8"),
        pytest.param(lambda: pmap_step(make_step("data")), id="pmap-8"),
        pytest.param(lambda: pmap_step(make_step("d"), "d", jax.devices()[:2]), id="pmap-2"),
    ],
)
def test_any_number_of_devices_equals_one(make, one_device):
    losses, state = train(make(), make_state())
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5)
    chex.assert_trees_all_close(jax.device_get(state.params), one_device[1], atol=1e-5)
    chex.assert_trees_all_close(jax.device_get(state.model_state), one_device[2], atol=1e-5)
    assert int(state.step) == 5


def test_metrics_are_replicated_and_the_batch_is_split():
    seen = {}

    def step(state, batch):
        jax.debug.inspect_array_sharding(batch["image"], callback=lambda s: seen.update(batch=s))
        return make_step()(state, batch)

    _, metrics = shard_step(step, data_mesh())(make_state(), next(make_batches(1)))
    assert all(value.sharding.is_fully_replicated and len(value.devices()) == 8 for value in metrics.values())
    assert seen["batch"].shard_shape((BATCH, 6, 6, 2)) == (BATCH // 8, 6, 6, 2)


def test_fsdp_splits_parameters_and_moments():
    mesh = data_mesh()
    _, state = train(fsdp(mesh), make_state(), n=2)
    shards = {}

    def held(path, leaf):
        shards[jax.tree_util.keystr(path, simple=True, separator="/")] = leaf.addressable_shards[0].data.shape

    jax.tree_util.tree_map_with_path(held, state)
    dense = "Dense_0/kernel"  # [288, 32]
    assert shards[f"params/{dense}"] == (36, 32)
    assert shards[f"opt_state/0/trace/{dense}"] == (36, 32)
    assert shards["params/Conv_0/kernel"] == (3, 3, 2, 1)  # [3, 3, 2, 8]
    assert shards["params/Dense_1/kernel"] == (4, 3)  # [32, 3]: the largest axis, since 8 divides it
    assert shards["params/Dense_0/bias"] == (32,)  # below min_size
    assert shards["step"] == ()


@pytest.mark.parametrize(
    ("shape", "min_size", "spec"),
    [
        pytest.param((16, 64), 1, P(None, "data"), id="largest"),
        pytest.param((64, 64), 1, P("data"), id="first-of-equals"),
        pytest.param((8, 100), 1, P("data"), id="largest-does-not-divide"),
        pytest.param((100, 9), 1, P(), id="none-divides"),
        pytest.param((), 1, P(), id="scalar"),
        pytest.param((0, 9), 0, P(), id="empty"),
        pytest.param((16, 64), 1025, P(), id="small"),
        pytest.param((16, 64), 1024, P(None, "data"), id="just-large"),
    ],
)
def test_largest_axis_spec(shape, min_size, spec):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert largest_axis_spec(data_mesh(), min_size=min_size)(leaf) == spec


@pytest.mark.parametrize("make", [lambda s: shard_step(s, data_mesh()), pmap_step], ids=["shard", "pmap"])
def test_one_trace(make):
    inner, traces = make_step("data" if make is pmap_step else None), []

    def step(state, batch):
        traces.append(1)
        return inner(state, batch)

    train(make(step), make_state(), n=4)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: shard_step(make_step(), data_mesh()), id="shard"),
        pytest.param(lambda: fsdp(data_mesh()), id="fsdp"),
        pytest.param(lambda: pmap_step(make_step("data")), id="pmap"),
    ],
)
def test_donates_the_state(make):
    step = make()
    first, _ = step(make_state(), next(make_batches(1)))
    second, _ = step(first, next(make_batches(1)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(second))


def test_one_step_serves_states_of_several_shapes():
    def step(state, batch):
        return jax.tree.map(lambda x: x + batch["x"].mean(), state), {}

    mesh = data_mesh()
    step = shard_step(step, mesh, state_spec=largest_axis_spec(mesh, min_size=1))
    for shape, shard in [((16, 3), (2, 3)), ((3, 8), (3, 1)), ((16, 3), (2, 3))]:
        state, _ = step({"w": jnp.ones(shape)}, {"x": np.ones(8, np.float32)})
        assert state["w"].addressable_shards[0].data.shape == shard
        np.testing.assert_array_equal(state["w"], np.full(shape, 2.0))


def test_place_moves_a_restored_state(one_device):
    """A state that a checkpoint left on the host, on another device or on another mesh continues exactly."""
    mesh = data_mesh()
    for restore in (
        lambda s: jax.device_put(s, jax.devices()[3]),
        lambda s: jax.device_put(s, NamedSharding(data_mesh(2), P())),
        lambda s: s.replace(params=jax.device_get(s.params), opt_state=jax.device_get(s.opt_state)),
    ):
        step = fsdp(mesh)
        state = step.place(restore(make_state()))
        assert state.params["Dense_0"]["kernel"].sharding == NamedSharding(mesh, P("data"))
        assert state.key.sharding.is_fully_replicated
        losses, _ = train(step, state)
        np.testing.assert_allclose(losses, one_device[0], atol=1e-5)
        losses, _ = train(fsdp(mesh), restore(make_state()))
        np.testing.assert_allclose(losses, one_device[0], atol=1e-5)


@pytest.mark.parametrize("where", ["device", "mesh"])
def test_pmap_takes_a_state_from_anywhere(where, one_device):
    to = jax.devices()[3] if where == "device" else NamedSharding(data_mesh(2), P())
    losses, _ = train(pmap_step(make_step("data")), jax.device_put(make_state(), to))
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5)


@pytest.mark.parametrize("make", [lambda s: shard_step(s, data_mesh()), pmap_step], ids=["shard", "pmap"])
def test_batches_on_a_device(make, one_device):
    step = make(make_step("data" if make is pmap_step else None))
    losses, _ = train(step, make_state(), batches=lambda n: map(jax.device_put, make_batches(n)))
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5)


def test_place_batch_ahead(one_device):
    step = shard_step(make_step(), data_mesh())
    losses, _ = train(step, make_state(), batches=lambda n: map(step.place_batch, make_batches(n)))
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5)


def test_stacked_batches_split_the_second_axis(one_device):
    """Several steps in one program, as `scan_steps` makes them."""

    def scanned(state, batches):
        return jax.lax.scan(make_step(), state, batches, unroll=True)

    step = shard_step(scanned, data_mesh(), batch_spec=P(None, "data"))
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *make_batches(5))
    state, metrics = step(make_state(), stacked)
    np.testing.assert_allclose(metrics["loss"], one_device[0], atol=1e-5)
    chex.assert_trees_all_close(jax.device_get(state.params), one_device[1], atol=1e-5)


def test_a_step_without_a_batch():
    step = shard_step(lambda state, batch: (state + 1, {"state": state}), data_mesh())
    state, metrics = step(jnp.zeros(()), None)
    assert (float(state), float(metrics["state"])) == (1.0, 0.0)


def test_dropout_draws_one_noise_for_any_number_of_devices():
    model = linen.Sequential([linen.Dense(16), linen.Dropout(0.5, deterministic=False)])

    def objective(params, model_state, batch, key):
        out = model.apply({"params": params}, batch["x"], rngs={"dropout": key})
        return jnp.mean(out**2), (model_state, {})

    def losses(count):
        variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, jnp.ones((1, 4)))
        state = create_train_state(jax.random.key(1), variables, TX)
        step = shard_step(make_update(backprop(objective), TX), data_mesh(count))
        x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
        return train(step, state, 3, lambda n: [{"x": x}] * n)[0]

    np.testing.assert_allclose(losses(1), losses(8), rtol=1e-6)


class TestErrors:
    def test_more_devices_than_there_are(self):
        with pytest.raises(ValueError, match=r"at most 8, .*got 9.*JAX_NUM_CPU_DEVICES=9"):
            data_mesh(9)
        with pytest.raises(ValueError, match="num_devices must be at least 1, got 0"):
            data_mesh(0)

    @pytest.mark.parametrize("make", [lambda s: shard_step(s, data_mesh()), pmap_step], ids=["shard", "pmap"])
    @pytest.mark.parametrize("to", [lambda x: x, jax.device_put], ids=["numpy", "device"])
    def test_batch_does_not_divide(self, make, to):
        step = make(make_step("data" if make is pmap_step else None))
        with pytest.raises(ValueError, match=r"batch\['image'\] has size 12 .* 8 devices"):
            step(make_state(), to(next(make_batches(1, size=12))))

    @pytest.mark.parametrize("make", [lambda s: shard_step(s, data_mesh()), pmap_step], ids=["shard", "pmap"])
    def test_batch_leaf_without_rows(self, make):
        with pytest.raises(ValueError, match=r"batch\['temperature'\] must have an axis 0"):
            make(lambda s, b: (s, {}))(jnp.zeros(()), {"temperature": np.float32(1)})

    def test_unknown_axis(self):
        mesh = data_mesh(axis_name="examples")
        for bad in (
            lambda: shard_step(make_step(), mesh),
            lambda: shard_step(make_step(), mesh, P("examples"), P("model")),
            lambda: largest_axis_spec(mesh),
        ):
            with pytest.raises(ValueError, match=r"must name axes of the mesh, \('examples',\)"):
                bad()


def test_data_mesh():
    mesh = data_mesh(4, "rows")
    assert (mesh.axis_names, mesh.size, mesh.axis_types) == (("rows",), 4, (AxisType.Auto,))
    assert data_mesh().size == 8


def test_too_late_to_join():
    """What works is tested in processes of its own."""
    with pytest.raises(RuntimeError, match="before any"):
        initialize_distributed("localhost:1", 2, 0)

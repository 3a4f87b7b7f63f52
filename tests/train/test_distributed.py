"""Two processes with four devices each, joined by JAX's coordinator, compute what one process computes.

Run as a script, this file is one of the processes.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl.data import Batches
from jaxdl.train.checkpoint import Checkpointer
from jaxdl.train.evaluation import evaluate, predict
from jaxdl.train.gradients import averaged_over, backprop
from jaxdl.train.loop import fit
from jaxdl.train.parallel import data_mesh, initialize_distributed, largest_axis_spec, pmap_step, shard_step
from jaxdl.train.state import create_train_state
from jaxdl.train.update import make_update

BATCH, TX = 32, optax.sgd(0.1, momentum=0.9)
MODES = ("replicated", "fsdp", "pmap")
MODEL = linen.Sequential([linen.Dense(64), linen.relu, linen.Dense(3)])


def objective(params, model_state, batch, key):
    loss = optax.softmax_cross_entropy_with_integer_labels(
        MODEL.apply({"params": params}, batch["x"]), batch["y"]
    )
    return loss.mean(), (model_state, {})


def metrics_fn(params, model_state, batch):
    correct = jnp.argmax(MODEL.apply({"params": params}, batch["x"]), axis=-1) == batch["y"]
    return {"accuracy": (jnp.sum(correct & batch["mask"]), jnp.sum(batch["mask"]))}


def make_data(n):
    x = np.random.default_rng(0).normal(size=(n, 16)).astype(np.float32)
    return {"x": x, "y": np.argmax(x[:, :3], axis=1)}


def make_state():
    return create_train_state(jax.random.key(1), MODEL.init(jax.random.key(0), jnp.ones((1, 16))), TX)


def make_step(mode):
    if mode == "pmap":
        return pmap_step(make_update(averaged_over(backprop(objective), "data"), TX))
    mesh = data_mesh()
    spec = {"state_spec": largest_axis_spec(mesh, min_size=64)} if mode == "fsdp" else {}
    return shard_step(make_update(backprop(objective), TX), mesh, **spec)


def train(step, state):
    """Losses over shuffled batches, of which every process reads its own rows."""
    losses = []
    for batch in Batches(make_data(100), BATCH, seed=3, num_epochs=2):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state


def rows(data, start, stop, size):
    for i in range(start, stop, size):
        yield {name: x[i : min(i + size, stop)] for name, x in data.items()}


def work(rank, address, out):
    """One process: trains on its half of every batch, then evaluates on its part of the examples."""
    initialize_distributed(address, 2, rank)
    initialize_distributed(address, 2, rank)  # a second call does nothing
    found = {
        "devices": [jax.process_count(), jax.device_count(), jax.local_device_count()],
        "collectives": jax.config.jax_cpu_collectives_implementation,
    }
    for mode in MODES:
        step = make_step(mode)
        found[mode], state = train(step, make_state())
        if mode == "pmap":
            continue
        # 50 examples here and 33 there: another number of batches and another last one on each process.
        part = (0, 50) if rank == 0 else (50, 83)
        data = make_data(83)
        found[f"{mode}/accuracy"] = [
            evaluate(metrics_fn, state.params, {}, rows(data, *part, 16), mesh=mesh)["accuracy"]
            for mesh in (None, data_mesh())
        ]
        # The last batch has 3 rows: all on process 0, none on process 1.
        shared = Batches(data, 16, shuffle=False, drop_last=False, num_epochs=1)
        found[f"{mode}/accuracy"].append(evaluate(metrics_fn, state.params, {}, shared)["accuracy"])
        labels = predict(
            lambda p, _, b: MODEL.apply({"params": p}, b["x"]), state.params, {}, rows(data, *part, 16)
        )
        found[f"{mode}/labels"] = labels.labels.tolist()
        found[f"{mode}/shard"] = state.params["layers_0"]["kernel"].addressable_shards[0].data.shape
        with pytest.raises(ValueError, match=r"batch\['x'\] has size 6 .* 4 devices"):
            step(state, {name: x[:6] for name, x in data.items()})
        with pytest.raises(ValueError, match="none on process 1"):
            evaluate(metrics_fn, state.params, {}, rows(data, 0, 16 * (1 - rank), 16))
    shared = pathlib.Path(out).parents[1] / "checkpoints"
    for num_steps in (7, 12):  # the second fit goes on from the first one's last checkpoint
        step = make_step("fsdp")
        state, history = fit(
            step,
            step.place(make_state()),
            Batches(make_data(100), BATCH, seed=3),
            num_steps=num_steps,
            checkpointer=Checkpointer(shared, every=2),
            resume=num_steps == 12,
            log_every=1,
            progress=None,
        )
    found["fit"] = history["loss"][1]
    with pytest.raises(AssertionError, match="same"):
        make_step("replicated").place({"w": jnp.full(3, rank, jnp.float32)})
    with pytest.raises(ValueError, match="must be all 8 devices where 2 processes run, got 4"):
        data_mesh(4)
    pathlib.Path(out).write_text(json.dumps(found))


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    root = pathlib.Path(__file__).parents[2]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI", "JAX_", "XLA_"))}
    env |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": str(root)}
    outs = [tmp_path_factory.mktemp("distributed") / f"{rank}.json" for rank in range(2)]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), address, str(out)],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank, out in enumerate(outs)
    ]
    try:
        logs = [process.communicate(timeout=180)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0, 0], "\n\n".join(logs)
    return [json.loads(out.read_text()) for out in outs]


@pytest.fixture(scope="module")
def alone():
    losses, state = train(jax.jit(make_update(backprop(objective), TX)), make_state())
    data = make_data(83)
    labels = np.argmax(MODEL.apply({"params": state.params}, data["x"]), axis=-1)
    return losses, labels, float(np.mean(np.asarray(labels) == data["y"]))


def test_two_processes_share_eight_devices(processes):
    assert [found["devices"] for found in processes] == [[2, 8, 4]] * 2
    assert processes[0]["collectives"] == "gloo"


@pytest.mark.parametrize("mode", MODES)
def test_losses_are_those_of_one_process(mode, processes, alone):
    assert processes[0][mode] == processes[1][mode]
    np.testing.assert_allclose(processes[0][mode], alone[0], atol=1e-5)
    assert alone[0][-1] < alone[0][0]


def test_fsdp_splits_over_both_processes(processes):
    assert [found["fsdp/shard"] for found in processes] == [[16, 8]] * 2
    assert [found["replicated/shard"] for found in processes] == [[16, 64]] * 2


@pytest.mark.parametrize("mode", ["replicated", "fsdp"])
def test_evaluation_is_over_the_examples_of_both(mode, processes, alone):
    for found in processes:
        np.testing.assert_allclose(found[f"{mode}/accuracy"], alone[2], rtol=1e-12)
    assert processes[0][f"{mode}/labels"] + processes[1][f"{mode}/labels"] == alone[1].tolist()


def test_checkpoints_of_two_processes_are_restored_by_one(processes, tmp_path_factory):
    """Split over both and saved into one folder, resumed by both, read by one: the uninterrupted single run."""
    step = jax.jit(make_update(backprop(objective), TX))
    batches = Batches(make_data(100), BATCH, seed=3)
    state, history = fit(step, make_state(), batches, num_steps=12, log_every=1, progress=None)
    assert processes[0]["fit"] == processes[1]["fit"]
    np.testing.assert_allclose(processes[0]["fit"], history["loss"][1], atol=1e-5)
    checkpointer = Checkpointer(tmp_path_factory.getbasetemp() / "checkpoints")
    assert checkpointer.steps == [10, 12]
    restored = checkpointer.restore(make_state()).state
    checkpointer.close()
    assert int(restored.step) == 12
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), restored.params, state.params)


def test_alone_without_a_cluster():
    """Without arguments and outside a cluster, joining does nothing, and a half-given cluster is an error."""
    code = (
        "from jaxdl.train.parallel import initialize_distributed; import jax\n"
        "initialize_distributed(); initialize_distributed(); print(jax.distributed.is_initialized())\n"
        "try: initialize_distributed('localhost:1')\n"
        "except ValueError as error: print(error)\n"
        "print(jax.process_count())"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI", "JAX_", "KUBERNETES"))}
    env |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=120)
    assert done.stdout.splitlines() == ["False", "Number of processes must be defined.", "1"], done.stderr


if __name__ == "__main__":
    work(int(sys.argv[1]), *sys.argv[2:])

"""Checkpoints: whole or absent, and clear about what is wrong with one."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import train


def state_of(size=4, tx=None, seed=0):
    tx = tx or optax.adam(0.1)
    params = {
        "dense": {
            "kernel": jnp.arange(size * 3.0).reshape(size, 3) + seed,
            "bias": jnp.zeros(3, jnp.bfloat16),
        }
    }
    return train.create_train_state(
        jax.random.key(seed), {"params": params, "stats": {"n": jnp.ones((), jnp.int32)}}, tx
    )


def assert_same(a, b):
    def check(x, y):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))

    jax.tree.map(check, a, b)


@pytest.fixture
def checkpointer(tmp_path):
    made = train.Checkpointer(tmp_path / "checkpoints", every=1)
    yield made
    made.close()


def test_round_trip_of_state_and_memory(checkpointer):
    memory = {
        "batches": {"epoch": 3, "position": 17},
        "hook/0": {"best": None, "leaves": [np.arange(3.0), np.ones((2, 2))]},
    }
    checkpointer.save(5, state_of(seed=7), memory)
    checkpointer.wait()
    step, state, restored = checkpointer.restore(state_of())
    assert step == 5
    assert_same(state, state_of(seed=7))
    assert restored["batches"] == memory["batches"]
    assert restored["hook/0"]["best"] is None
    np.testing.assert_array_equal(restored["hook/0"]["leaves"][1], np.ones((2, 2)))


def test_keeps_the_latest_and_the_best(tmp_path):
    checkpointer = train.Checkpointer(tmp_path / "c", keep=2, monitor="accuracy")
    for step, accuracy in enumerate([0.1, 0.9, 0.3, 0.4, 0.2], start=1):
        checkpointer.save(step, state_of(seed=step), metrics={"accuracy": accuracy})
        checkpointer.wait()
    checkpointer.close()
    assert checkpointer.steps[-2:] == [4, 5]
    assert 2 in checkpointer.steps
    assert 1 not in checkpointer.steps
    fresh = train.Checkpointer(tmp_path / "c", monitor="accuracy")
    restored = fresh.restore_best(state_of())
    assert restored.step == 2
    assert_same(restored.state, state_of(seed=2))
    assert fresh.restore(state_of()).step == 5
    assert fresh.steps == checkpointer.steps
    fresh.close()


def test_donated_buffers_do_not_reach_the_files(checkpointer):
    """The next step reuses the state's memory while the writer thread is still at work."""
    step = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf * 0 - 1, x), donate_argnums=0)
    state = {"w": jnp.arange(500_000.0)}
    checkpointer.save(1, state)
    for _ in range(5):
        state = step(state)
    jax.block_until_ready(state)
    checkpointer.wait()
    restored = checkpointer.restore({"w": jnp.zeros(500_000)})
    np.testing.assert_array_equal(restored.state["w"], np.arange(500_000.0, dtype=np.float32))


def test_restores_onto_the_sharding_asked_for(checkpointer):
    mesh = train.data_mesh(4)
    checkpointer.save(1, {"w": jnp.arange(8.0)})
    checkpointer.wait()
    like = {"w": jax.device_put(jnp.zeros(8), NamedSharding(mesh, P("data")))}
    restored = checkpointer.restore(like).state["w"]
    assert restored.sharding.is_equivalent_to(like["w"].sharding, 1)
    np.testing.assert_array_equal(restored, np.arange(8.0))


def test_nothing_to_restore(checkpointer):
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*checkpoints"):
        checkpointer.restore(state_of())
    checkpointer.save(1, state_of())
    checkpointer.wait()
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 9"):
        checkpointer.restore(state_of(), step=9)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(
            {"size": 5}, r"params/dense/kernel: float32\[4, 3\] saved, float32\[5, 3\] wanted", id="shape"
        ),
        pytest.param({"tx": optax.sgd(0.1)}, "opt_state/.* absent here", id="optimizer"),
    ],
)
def test_of_another_model(checkpointer, other, message):
    checkpointer.save(1, state_of())
    checkpointer.wait()
    with pytest.raises(ValueError, match=f"another model or optimizer.*{message}"):
        checkpointer.restore(state_of(**other))
    assert checkpointer.steps == [1]


def test_of_another_format(checkpointer):
    checkpointer.save(1, state_of())
    checkpointer.wait()
    path = pathlib.Path(checkpointer.folder) / "1" / "about" / "metadata"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "format": 999}))
    with pytest.raises(ValueError, match="has format 999, this version reads 1"):
        checkpointer.restore(state_of())


def damage(folder, how):
    files = [p for p in folder.rglob("*") if p.is_file()]
    if how == "empty files":
        for file in files:
            file.write_bytes(b"")
    elif how == "half of the data":
        for file in files:
            if "d" in file.parts[-2]:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "no state":
        shutil.rmtree(folder / "state")


@pytest.mark.parametrize("how", ["empty files", "half of the data", "no state"])
def test_a_damaged_one_is_passed_over(checkpointer, how):
    for step in (1, 2):
        checkpointer.save(step, state_of(seed=step))
    checkpointer.close()
    damage(pathlib.Path(checkpointer.folder) / "2", how)
    with pytest.warns(UserWarning, match="step 2 .*is damaged; taking the one before"):
        restored = checkpointer.restore(state_of())
    assert restored.step == 1
    assert_same(restored.state, state_of(seed=1))
    checkpointer.save(2, state_of(seed=5))  # the run that goes on reaches step 2 again
    checkpointer.wait()
    assert_same(checkpointer.restore(state_of()).state, state_of(seed=5))


def test_all_damaged(checkpointer):
    checkpointer.save(1, state_of())
    checkpointer.close()
    damage(pathlib.Path(checkpointer.folder) / "1", "empty files")
    with pytest.raises(ValueError, match="every checkpoint in .* is damaged: step 1"):
        checkpointer.restore(state_of())


def test_a_save_that_was_cut_off_is_not_a_checkpoint(checkpointer):
    checkpointer.save(1, state_of(seed=1))
    checkpointer.close()
    whole = pathlib.Path(checkpointer.folder) / "1"
    shutil.copytree(whole, whole.parent / "2.orbax-checkpoint-tmp")
    assert checkpointer.steps == [1]
    assert checkpointer.restore(state_of()).step == 1


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    checkpointer = train.Checkpointer(tmp_path / "file" / "checkpoints")
    with pytest.raises(OSError, match=r"cannot write the checkpoint folder .*file/checkpoints.*--output-dir"):
        checkpointer.save(1, state_of())


def test_full_disk(tmp_path):
    """A limit on file size stands in for a full disk: the write fails, and the earlier checkpoint stays whole."""
    code = textwrap.dedent(f"""
        import resource, signal
        import jax, jax.numpy as jnp, numpy as np
        from jaxdl import train
        big = lambda: {{"w": jax.random.normal(jax.random.key(0), (1_000_000,))}}
        checkpointer = train.Checkpointer({str(tmp_path / "c")!r})
        checkpointer.save(1, big()); checkpointer.wait()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpointer.save(2, big()); checkpointer.wait()
        except OSError as error:
            print("refused:", error)
        print("left:", checkpointer.steps)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "refused: " in done.stdout, done.stdout + done.stderr[-2000:]
    assert "--output-dir" in done.stdout
    assert "left: [1]" in done.stdout
    restored = train.Checkpointer(tmp_path / "c").restore({"w": jnp.zeros(1_000_000)})
    np.testing.assert_array_equal(restored.state["w"], jax.random.normal(jax.random.key(0), (1_000_000,)))


@pytest.mark.parametrize(("setting", "value"), [("every", 0), ("keep", 1), ("mode", "largest")])
def test_bad_settings(tmp_path, setting, value):
    with pytest.raises(ValueError, match=setting):
        train.Checkpointer(tmp_path, **{setting: value})


VICTIM = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
from jaxdl import train

class Stream:
    position = 0
    def __iter__(self):
        while True:
            self.position += 1
            yield np.random.default_rng(self.position).normal(size=(16, 200)).astype(np.float32)
    def state(self): return {"position": self.position}
    def restore(self, state): self.position = state["position"]

def objective(params, model_state, batch, key):
    return jnp.mean((batch @ params["w"] - jax.random.normal(key, (16, 300))) ** 2), (model_state, {})

tx = optax.adam(0.01)
step = jax.jit(train.make_update(train.backprop(objective), tx), donate_argnums=0)
state = train.create_train_state(jax.random.key(0), {"params": {"w": jnp.zeros((200, 300))}}, tx)
checkpointer = train.Checkpointer(sys.argv[1], every=3)  # a save is under way most of the time
print("ready", flush=True)
state, _ = train.fit(step, state, Stream(), num_steps=150, checkpointer=checkpointer, resume=True, progress=None)
np.save(sys.argv[2], np.asarray(state.params["w"]))
"""


def test_killed_while_saving_and_resumed_is_bit_for_bit(tmp_path):
    command = [sys.executable, "-c", VICTIM]
    subprocess.run([*command, str(tmp_path / "whole"), str(tmp_path / "whole.npy")], check=True, timeout=120)
    rng = random.Random(0)
    latest = lambda: max(train.Checkpointer(tmp_path / "cut").steps, default=0)  # noqa: E731
    for _ in range(3):
        victim = subprocess.Popen(
            [*command, str(tmp_path / "cut"), str(tmp_path / "cut.npy")], stdout=subprocess.PIPE
        )
        victim.stdout.readline()
        before = latest()
        while victim.poll() is None and latest() < before + 12:  # four saves, however fast the machine is
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))  # somewhere within the next one
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
    assert not (tmp_path / "cut.npy").exists(), (
        "the run was over before it was killed: the test shows nothing"
    )
    assert train.Checkpointer(tmp_path / "cut").steps
    subprocess.run([*command, str(tmp_path / "cut"), str(tmp_path / "cut.npy")], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), np.load(tmp_path / "cut.npy"))

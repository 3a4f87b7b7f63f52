"""Counts against formulas, and a file that outlives the library."""

import io
import pathlib
import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
from flax import linen

from jaxdl.train.inspection import export_stablehlo, summary

B = 2


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


class Call(linen.Module):
    """Makes a module of a function of layers."""

    body: object

    @linen.compact
    def __call__(self, *args, **kwargs):
        return self.body(*args, **kwargs)


class Stack(linen.Module):
    """Three equal layers in one scan, the first of which calls a shared layer twice."""

    @linen.compact
    def __call__(self, x):
        class Block(linen.Module):
            @linen.compact
            def __call__(self, x, _):
                shared = linen.Dense(6, name="shared")
                return shared(linen.relu(shared(x))), None

        scanned = linen.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return scanned(name="blocks")(x, None)[0]


class Coder(linen.Module):
    """Layers from `setup`, used in several methods."""

    def setup(self):
        self.encoder = linen.Dense(4)
        self.decoder = linen.Dense(10)

    def encode(self, x):
        return self.encoder(x)

    def __call__(self, x):
        return self.decoder(self.encode(x))


# Every row: module, input, multiply-adds, parameters, other state; the numbers by hand.
LSTM = 4 * (5 * 7 + 7 * 7)  # products of one step and one row
CASES = [
    pytest.param(linen.Dense(7), (B, 5), B * 5 * 7, 5 * 7 + 7, 0, id="dense"),
    pytest.param(linen.Dense(7), (B, 3, 5), B * 3 * 5 * 7, 5 * 7 + 7, 0, id="dense-sequence"),
    pytest.param(linen.DenseGeneral((3, 4)), (B, 5), B * 5 * 12, 5 * 12 + 12, 0, id="dense-general"),
    pytest.param(linen.Conv(8, (3, 3)), (B, 10, 12, 4), B * 120 * 9 * 4 * 8, 9 * 4 * 8 + 8, 0, id="conv"),
    pytest.param(
        linen.Conv(8, (5, 3), strides=(2, 3), padding="VALID", use_bias=False),
        (B, 13, 12, 3),
        B * (5 * 4) * (5 * 3) * 3 * 8,
        5 * 3 * 3 * 8,
        0,
        id="conv-strided",
    ),
    pytest.param(
        linen.Conv(8, (3, 3), feature_group_count=2),
        (B, 6, 6, 4),
        B * 36 * 9 * 2 * 8,
        9 * 2 * 8 + 8,
        0,
        id="conv-grouped",
    ),
    pytest.param(
        linen.Conv(4, (3, 3), feature_group_count=4),
        (B, 6, 6, 4),
        B * 36 * 9 * 4,
        9 * 4 + 4,
        0,
        id="conv-depthwise",
    ),
    pytest.param(
        linen.Conv(8, (3,), kernel_dilation=2),
        (B, 20, 4),
        B * 20 * 3 * 4 * 8,
        3 * 4 * 8 + 8,
        0,
        id="conv-dilated",
    ),
    pytest.param(
        linen.ConvTranspose(8, (4, 4), strides=(2, 2)),
        (B, 5, 5, 3),
        B * 25 * 16 * 3 * 8,
        16 * 3 * 8 + 8,
        0,
        id="conv-transposed",
    ),
    pytest.param(linen.BatchNorm(use_running_average=True), (B, 6, 6, 5), 0, 10, 10, id="batch-norm"),
    pytest.param(linen.Embed(11, 3), ((B, 4), jnp.int32), 0, 33, 0, id="embed"),
    pytest.param(linen.RNN(linen.LSTMCell(7)), (B, 9, 5), 9 * B * LSTM, LSTM + 4 * 7, 0, id="lstm"),
    pytest.param(
        linen.Bidirectional(linen.RNN(linen.LSTMCell(7)), linen.RNN(linen.LSTMCell(7))),
        (B, 9, 5),
        2 * 9 * B * LSTM,
        2 * (LSTM + 4 * 7),
        0,
        id="lstm-bidirectional",
    ),
    pytest.param(Stack(), (B, 6), 3 * 2 * B * 36, 3 * (36 + 6), 0, id="scan-of-layers"),
    pytest.param(
        Call(lambda x: Stack()(Stack()(x))), (B, 6), 2 * 3 * 2 * B * 36, 2 * 3 * 42, 0, id="scans-inside"
    ),
    pytest.param(Call(lambda x: linen.remat(linen.Dense)(7)(x)), (B, 5), B * 35, 42, 0, id="remat"),
    pytest.param(
        Call(
            lambda x: linen.vmap(linen.Dense, variable_axes={"params": 0}, split_rngs={"params": True})(7)(x)
        ),
        (B, 3, 5),
        B * 3 * 35,
        B * 42,
        0,
        id="vmap",
    ),
    pytest.param(
        linen.MultiHeadDotProductAttention(num_heads=2),
        (B, 6, 8),
        B * (4 * 6 * 64 + 2 * 6 * 6 * 8),
        4 * (64 + 8),
        0,
        id="attention",
    ),
    pytest.param(Coder(), (B, 10), 2 * B * 40, 2 * 40 + 14, 0, id="setup-and-methods"),
    pytest.param(
        Call(lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x.T, lambda x: (x @ x.T) @ (x @ x.T), x)),
        (B, 5),
        2 * B * B * 5 + B**3,
        0,
        0,
        id="cond-dearest-branch",
    ),
    pytest.param(
        Call(lambda x: jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ x, x)),
        (4, 4),
        64,
        0,
        0,
        id="while-once",
    ),
    pytest.param(Call(jax.jit(lambda x: jax.nn.relu(x) @ x.T)), (B, 5), B * B * 5, 0, 0, id="jit-inside"),
]


@pytest.mark.parametrize(("model", "shape", "macs", "parameters", "state"), CASES)
def test_counts_by_formula(model, shape, macs, parameters, state):
    x = spec(*shape) if isinstance(shape[0], int) else spec(*shape[0], dtype=shape[1])
    got = summary(model, x)
    assert (got.total_flops, got.total_parameters, got.total_state) == (2 * macs, parameters, state)
    assert sum(row.macs for row in got.rows) == macs
    assert len({row.path for row in got.rows}) == len(got.rows)


@pytest.mark.parametrize(("model", "shape", "macs", "parameters", "state"), CASES)
def test_parameters_as_eval_shape_counts_them(model, shape, macs, parameters, state):
    x = spec(*shape) if isinstance(shape[0], int) else spec(*shape[0], dtype=shape[1])
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {}))) == parameters


class LeNet(linen.Module):
    @linen.compact
    def __call__(self, x, *, train: bool, scale=None):
        x = linen.Conv(6, (5, 5), name="C1")(x)
        x = linen.avg_pool(linen.tanh(x), (2, 2), strides=(2, 2))
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        x = linen.Conv(16, (5, 5), padding="VALID", name="C3")(x)
        x = linen.avg_pool(linen.tanh(x), (2, 2), strides=(2, 2)).reshape(x.shape[0], -1)
        x = linen.Dropout(0.5, deterministic=not train)(linen.Dense(120, name="C5")(x))
        return linen.Dense(10, name="output")(x)


def test_rows_of_a_net():
    got = summary(LeNet(), spec(1, 28, 28, 1), train=True, scale=None)
    rows = [(r.path, r.type, r.output, r.parameters, r.state, r.macs) for r in got.rows]
    assert rows == [
        ("", "LeNet", "float32[1, 10]", 0, 0, 0),
        ("C1", "Conv", "float32[1, 28, 28, 6]", 156, 0, 28 * 28 * 25 * 6),
        ("norm", "BatchNorm", "float32[1, 14, 14, 6]", 12, 12, 0),
        ("C3", "Conv", "float32[1, 10, 10, 16]", 2416, 0, 100 * 25 * 6 * 16),
        ("C5", "Dense", "float32[1, 120]", 400 * 120 + 120, 0, 48000),
        ("Dropout_0", "Dropout", "float32[1, 120]", 0, 0, 0),
        ("output", "Dense", "float32[1, 10]", 1210, 0, 1200),
    ]
    assert got.rows[1].flops == 2 * got.rows[1].macs


def test_totals_agree_with_tabulate():
    """Linen's own count, read from the table that it prints."""
    model, x = LeNet(), jnp.ones((1, 28, 28, 1))
    table = model.tabulate(jax.random.key(0), x, train=False, console_kwargs={"width": 200})
    total = int(re.search(r"Total Parameters: ([\d,]+)", table)[1].replace(",", ""))
    got = summary(model, x, train=False)
    assert got.total_parameters + got.total_state == total


def test_several_inputs_and_outputs():
    def body(a, b, *, swap):
        a, b = linen.Dense(3, name="a")(a), linen.Dense(4, name="b")(b["x"])
        return (b, a) if swap else (a, b)

    got = summary(Call(body), spec(1, 2), {"x": spec(1, 5)}, swap=True)
    assert got.rows[0].output == "float32[1, 4], float32[1, 3]"
    assert [(row.path, row.parameters) for row in got.rows[1:]] == [("a", 9), ("b", 24)]


def test_another_method():
    got = summary(Coder(), spec(B, 10), method="encode")
    assert [(row.path, row.output) for row in got.rows] == [
        ("", "float32[2, 4]"),
        ("encoder", "float32[2, 4]"),
    ]


def test_compute_dtype_is_shown():
    assert summary(linen.Dense(3, dtype=jnp.bfloat16), spec(1, 2)).rows[0].output == "bfloat16[1, 3]"


def test_costs_no_memory():
    """A layer of 4 TB is counted at once."""
    got = summary(linen.Dense(10**6, use_bias=False), spec(1, 10**6))
    assert (got.total_parameters, got.total_flops) == (10**12, 2 * 10**12)


def test_prints_as_a_table():
    got = summary(LeNet(), spec(8, 28, 28, 1), train=False)
    text = str(got)
    for part in ("C3", "Conv", "float32[8, 10, 10, 16]", "2,416", "51,914", f"{got.total_flops:,}", "total"):
        assert part in text
    console = rich.console.Console(file=io.StringIO(), width=110)
    console.print(got)
    assert console.file.getvalue().rstrip() == text


ISOLATED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jaxdl", "flax", "optax", "orbax"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import jax.export, numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
data = np.load(sys.argv[2])
for name in data:
    np.save(f"{sys.argv[3]}/{name}.npy", exported.call(data[name]))
assert not [m for m in sys.modules if m.split(".")[0] in ("jaxdl", "flax")]
"""


def test_an_exported_net_runs_without_the_library(tmp_path):
    model = LeNet()
    x = np.random.default_rng(0).normal(size=(5, 28, 28, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, train=False)

    def function(x):
        return model.apply(variables, x, train=False)

    file = tmp_path / "new" / "net.stablehlo"
    export_stablehlo(function, (x,), file, batch_polymorphic=True)
    np.savez(tmp_path / "in.npz", five=x, three=x[:3])
    done = subprocess.run(
        [sys.executable, "-c", ISOLATED, str(file), str(tmp_path / "in.npz"), str(tmp_path)],
        cwd=tmp_path,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name, rows in (("five", x), ("three", x[:3])):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), function(rows), atol=1e-6)


def test_exports_trees_with_shapes_alone(tmp_path):
    def function(params, batch):
        return {"y": batch["x"] @ params["w"], "n": batch["n"] + 1}

    args = {"w": spec(3, 2)}, {"x": spec(4, 3), "n": spec(dtype=jnp.int32)}
    export_stablehlo(function, args, tmp_path / "f", platforms=("cpu",))
    exported = jax.export.deserialize(bytearray((tmp_path / "f").read_bytes()))
    assert exported.platforms == ("cpu",)
    got = exported.call({"w": jnp.ones((3, 2))}, {"x": jnp.ones((4, 3)), "n": jnp.asarray(2, jnp.int32)})
    np.testing.assert_array_equal(got["y"], np.full((4, 2), 3.0))
    assert int(got["n"]) == 3


def test_exports_for_absent_platforms(tmp_path):
    export_stablehlo(jnp.sin, (spec(3),), tmp_path / "f")
    exported = jax.export.deserialize(bytearray((tmp_path / "f").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")


class TestExportErrors:
    def test_no_folder_can_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=r"cannot write .*file/net"):
            export_stablehlo(jnp.sin, (spec(3),), tmp_path / "file" / "net")

    def test_a_full_disk_keeps_the_old_file(self, tmp_path, monkeypatch):
        (tmp_path / "net").write_text("old")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pathlib.Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"cannot write .*net: No space left on device"):
            export_stablehlo(jnp.sin, (spec(3),), tmp_path / "net")
        assert (tmp_path / "net").read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["net"]

    def test_a_scalar_has_no_batch(self, tmp_path):
        with pytest.raises(ValueError, match=r"example_args\[1\]\['n'\] must have a batch axis"):
            export_stablehlo(lambda x, d: x, (spec(3), {"n": spec()}), tmp_path / "f", batch_polymorphic=True)
        assert not (tmp_path / "f").exists()


def test_lenet_counts_are_those_of_the_textbook():
    """Formulas of the layers' sizes, whatever form the convolutions take on this machine."""
    from jaxdl.models.vision import LeNet5

    got = summary(LeNet5(), jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32), train=False)
    expected = [28 * 28 * 6 * 25, 10 * 10 * 16 * 150, 400 * 120, 120 * 84, 84 * 10]
    assert [row.macs for row in got.rows if row.macs] == expected
    assert got.total_parameters == 61_706


def test_export_holds_the_plain_convolution(tmp_path):
    """A banded product is for this machine's CPU; the file is for any."""
    from jaxdl import nn

    layer, image = nn.Conv(4, 3), jnp.ones((1, 6, 6, 1))
    variables = layer.init(jax.random.key(0), image)
    here = layer.apply(variables, image)  # traced before, in the form of this machine
    export_stablehlo(lambda x: layer.apply(variables, x), (image,), tmp_path / "net.stablehlo")
    exported = jax.export.deserialize(bytearray((tmp_path / "net.stablehlo").read_bytes()))
    assert "convolution" in exported.mlir_module()
    np.testing.assert_allclose(exported.call(image), here, atol=1e-6)

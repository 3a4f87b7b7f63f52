"""Every experiment runs in its smoke configuration, and the command line behaves."""

import dataclasses
import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from experiments.__main__ import listed
from experiments.run import Apply, Claim, Run, apply_run, load_run

ROOT = pathlib.Path(__file__).parents[2]
NAMES = [name for name, _, _ in listed()]
DIGITS = ("experiments.vision.lenet_digits", "--num-seeds=1", "--batch-size=16", "--devices=1")


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
    return done.returncode, done.stdout, done.stderr


def smoke(name, folder, **changes):
    module = importlib.import_module(name)
    config = dataclasses.replace(module.PRESETS["smoke"], output_dir=folder, devices=1, **changes)
    return module, config


@pytest.fixture
def mnist_like(tmp_path, monkeypatch):
    """A source of noise in MNIST's form: the experiment's wiring is under test, not its data."""
    from jaxdl import data

    def load(name, split, data_dir=None, **_):
        rng = np.random.default_rng(len(split))
        n = 600
        return {
            "image": rng.integers(0, 256, (n, 28, 28, 1), np.uint8),
            "label": rng.integers(0, 10, n).astype(np.int64),
        }

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(data, "as_arrays", lambda source: source)


# One of each family at every run of the suite; all of them in the slow part.
QUICK = {
    "experiments.dense.xor_backprop",
    "experiments.sequence.bidirectional",
    "experiments.vision.lenet_digits",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES]
)
def test_smoke(name, tmp_path, mnist_like):
    module, config = smoke(name, tmp_path / "run")
    assert module.main(config) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"claim", "expected", "measured", "passed", "seconds", "seed"} <= set(result)
    assert result["passed"] is None, "a smoke run checks no claim"
    assert np.isfinite(result["measured"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["experiment"] == name.removeprefix(
        "experiments."
    )
    figures = list((tmp_path / "run" / "figures").glob("*.png"))
    assert figures
    assert all(figure.stat().st_size > 5000 for figure in figures)
    assert list((tmp_path / "run" / "checkpoints").rglob("_CHECKPOINT_METADATA"))
    assert (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize("name", NAMES)
def test_docstring_gives_claim_command_and_data(name):
    docstring = importlib.import_module(name).__doc__
    assert f"python -m {name}" in docstring
    assert "Data: " in docstring


def test_list_shows_every_experiment():
    code, out, _ = run("experiments")
    assert code == 0
    for name in NAMES:
        assert name in out
    assert "98.0 %" in out


def test_help_shows_types_defaults_and_meanings():
    code, out, _ = run("experiments.vision.lenet_digits", "--help", "--preset=full")
    assert code == 0
    for text in (
        "--seed INT",
        "--precision {float32,bfloat16,float16}",
        "--resume",
        "--devices",
        "--output-dir",
        "--data-dir",
    ):
        assert text in out, text
    assert "Root of all randomness" in out
    assert "(default: 10)" in out, "--preset=full changes the defaults that --help shows"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--sede=1"], "--sede", id="unknown setting"),
        pytest.param(["--seed=one"], "seed", id="wrong type"),
        pytest.param(["--precision=float8"], "precision", id="wrong choice"),
    ],
)
def test_wrong_arguments(arguments, message):
    code, out, err = run("experiments.vision.lenet_digits", *arguments)
    assert code == 2
    assert message in out + err


def test_devices_that_do_not_divide_the_batch(tmp_path):
    code, _, err = run(
        "experiments.vision.lenet_digits", "--preset=smoke", "--devices=3", f"--output-dir={tmp_path / 'r'}"
    )
    assert code == 1
    assert "which 3 devices cannot share equally" in err
    assert "Traceback" not in err


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = run(*DIGITS, f"--output-dir={tmp_path / 'file' / 'run'}")
    assert code == 1
    assert "cannot write" in err
    assert "config.json" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_other_precisions(tmp_path, precision):
    module, config = smoke("experiments.vision.lenet_digits", tmp_path / "run", precision=precision)
    config = dataclasses.replace(config, num_steps=44, batch_size=64)
    assert module.main(config) == 0
    rows = (tmp_path / "run" / "metrics" / "seed-0.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    assert losses[-1] < losses[0] < 2.0, "it learns"
    assert ("loss_scale" in rows[0]) == (precision == "float16")


def test_labels_outside_the_classes_stop_the_run(tmp_path, monkeypatch):
    module, config = smoke("experiments.vision.lenet_digits", tmp_path / "run")
    right = module.examples

    def wrong(split):
        arrays = right(split)
        return {**arrays, "label": arrays["label"] + 5}

    monkeypatch.setattr(module, "examples", wrong)
    with pytest.raises(
        FloatingPointError, match=r"step 2: .*loss is nan.*labels outside the model's classes"
    ):
        module.main(config)


def test_missing_data_set_says_how_to_get_it(tmp_path):
    code, _, err = run("experiments.vision.lenet_mnist", f"--data-dir={tmp_path}", JAXDL_OFFLINE="1")
    assert code == 1
    assert "python -m jaxdl.data import mnist FOLDER" in err
    assert "Traceback" not in err


def test_a_run_is_never_overwritten(tmp_path, mnist_like):
    module, config = smoke("experiments.dense.xor_backprop", tmp_path / "run")
    module.main(config)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(FileExistsError, match="holds a run already; add --resume"):
        module.main(config)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="other settings: --num-starts was 4, is 5"):
        module.main(dataclasses.replace(config, resume=True, num_starts=5))
    with pytest.raises(FileNotFoundError, match="holds no run to resume"):
        module.main(dataclasses.replace(config, resume=True, output_dir=tmp_path / "other"))
    assert module.main(dataclasses.replace(config, resume=True)) == 0


def parameters(folder):
    module, config = load_run(folder)
    applied = module.applied(config)
    from jaxdl import train

    checkpointer = train.Checkpointer(folder / "checkpoints" / applied.part)
    restored = checkpointer.restore(applied.state)
    checkpointer.close()
    return restored.step, restored.state.params


def test_interrupted_and_resumed_is_bit_for_bit(tmp_path):
    steps = "--num-steps=100"
    code, _, err = run(*DIGITS, steps, f"--output-dir={tmp_path / 'whole'}")
    assert code in (0, 3), err
    for number, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        resume = ["--resume"] if (tmp_path / "cut").exists() else []
        victim = subprocess.Popen(
            [sys.executable, "-m", *DIGITS, steps, f"--output-dir={tmp_path / 'cut'}", *resume],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        victim.stderr.readline()  # the first logged row: training is under way
        victim.send_signal(number)
        _, err = victim.communicate(timeout=120)
        assert victim.returncode == expected, err
        assert "Continue with: python -m experiments.vision.lenet_digits" in err.replace("\n", " ")
        assert "Traceback" not in err
    assert parameters(tmp_path / "cut")[0] < 100
    code, _, err = run(*DIGITS, steps, f"--output-dir={tmp_path / 'cut'}", "--resume")
    assert code in (0, 3), err
    whole, cut = parameters(tmp_path / "whole"), parameters(tmp_path / "cut")
    assert whole[0] == cut[0] == 100
    import jax

    jax.tree.map(np.testing.assert_array_equal, whole[1], cut[1])
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "cut")]
    assert results[0]["measured"] == results[1]["measured"]


@pytest.mark.slow
def test_one_device_eight_devices_and_two_processes_have_the_same_losses(tmp_path):
    command = [sys.executable, "-m", *DIGITS[:2], "--num-steps=66", "--batch-size=64"]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    variants = {
        "one": [["--devices=1"]],
        "eight": [["--devices=8"]],
        "two": [
            [f"--coordinator=localhost:{port}", "--num-processes=2", f"--process-id={i}"] for i in (0, 1)
        ],
    }
    curves = {}
    for name, processes in variants.items():
        folder = tmp_path / name
        running = [
            subprocess.Popen(
                [*command, f"--output-dir={folder}", *extra], cwd=ROOT, stderr=subprocess.PIPE, text=True
            )
            for extra in processes
        ]
        for process in running:
            _, err = process.communicate(timeout=300)
            assert process.returncode in (0, 3), err
        rows = (folder / "metrics" / "seed-0.jsonl").read_text().splitlines()
        curves[name] = [json.loads(row)["loss"] for row in rows]
    assert len(curves["one"]) == 3
    np.testing.assert_allclose(curves["eight"], curves["one"], rtol=1e-5)
    np.testing.assert_allclose(curves["two"], curves["one"], rtol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    module, config = smoke("experiments.vision.lenet_digits", folder)
    module.main(config)
    return folder


def test_predict_applies_the_checkpoint_to_own_files(finished, tmp_path, capsys):
    from PIL import Image

    picture = np.full((60, 50), 255, np.uint8)
    picture[10:50, 22:28] = 0  # dark ink on light paper
    Image.fromarray(picture).save(tmp_path / "one.png")
    np.save(tmp_path / "two.npy", np.stack([255 - picture] * 2))
    rows = np.zeros((3, 64))
    rows[:, 20:44:8] = 16
    np.savetxt(tmp_path / "three.csv", rows, delimiter=",")
    printed = {}
    for name, count in (("one.png", 1), ("two.npy", 2), ("three.csv", 3)):
        assert apply_run(Apply(finished, tmp_path / name)) == 0
        printed[name] = capsys.readouterr().out
        lines = [line for line in printed[name].splitlines() if line.startswith("│")]
        assert len(lines) == count, printed[name]
    probabilities = lambda text: next(part for part in text.split("│") if "0." in part)  # noqa: E731
    assert probabilities(printed["one.png"]) == probabilities(printed["two.npy"]), (
        "polarity is found by itself"
    )


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        pytest.param("absent.png", None, FileNotFoundError, "no file", id="absent"),
        pytest.param("broken.png", b"not a picture", ValueError, "not a picture", id="broken"),
        pytest.param(
            "ragged.csv", b"1,2\n1,2,3\n", ValueError, "line 2: 3 values, the rows before have 2", id="ragged"
        ),
        pytest.param("oblong.csv", b"1,2,3\n", ValueError, "square number of values, got 3", id="oblong"),
        pytest.param(
            "words.csv", b"1,2,3,4\na,b,c,d\n", ValueError, "line 2: not all values are numbers", id="words"
        ),
        pytest.param("empty.csv", b"", ValueError, "no rows", id="empty"),
        pytest.param("blank.csv", b"0,0,0,0\n", ValueError, "no ink", id="blank"),
    ],
)
def test_predict_refuses_what_it_cannot_read(finished, tmp_path, name, content, kind, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=message):
        apply_run(Apply(finished, tmp_path / name))


def test_predict_needs_a_run(tmp_path):
    code, _, err = run("experiments.run", str(tmp_path), "--predict=x.png")
    assert code == 1
    assert "is not a run folder" in err


def test_claims_are_computed_not_assumed(tmp_path):
    _, config = smoke("experiments.dense.xor_backprop", tmp_path / "run")
    config = dataclasses.replace(config, preset="default")
    for value, code in ((98.0, 0), (97.99, 3), (float("nan"), 3)):
        folder = tmp_path / str(value)
        assert (
            Run("x", dataclasses.replace(config, output_dir=folder)).finish([(Claim("c", 98.0), value)])
            == code
        )
        assert json.loads((folder / "result.json").read_text())["passed"] is (code == 0)
    assert Claim("seconds", 60, better="lower").met(59.0)
    assert not Claim("seconds", 60, better="lower").met(61.0)

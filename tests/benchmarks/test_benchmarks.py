"""The instrument: what it lists, checks, times and records."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import linen
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import convolution_loops, learning_rates, lenet, measure, mlp, supervised, xor
from benchmarks.__main__ import main
from benchmarks.measure import Row, Side, Target
from benchmarks.rows import ROWS

TINY_MLP = mlp.row(sizes=(12, 8, 4), batch_size=4, units=4, num_batches=2)
# Keras alone takes longer than these together
QUICK = {
    "jaxdl",
    "jaxdl (no norms)",
    "jaxdl (2 steps a call, no norms, no YNN)",
    "flax (both norms)",
    "flax",
    "torch",
}


def side(name, *, seconds=0.0, loss=1.0, clock=None, quantum=1, calls=None, **settings):
    """A side that takes no time but moves a clock."""

    def run(units):
        if clock is not None:
            clock[0] += seconds * units
        if calls is not None:
            calls.append(units)
        return loss

    return Side(name, lambda: run, quantum=quantum, **settings)


def row(*sides, **settings):
    return Row(name="fake", trains="nothing", sides=sides, **{"units": 4, "check_units": 2} | settings)


@pytest.fixture
def rates(monkeypatch):
    """No large matrix products."""
    monkeypatch.setattr(measure.machine, "matmul_rates", lambda: {"jax": 100.0})


@pytest.fixture
def clock(rates, monkeypatch):
    """A clock that only sides move."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    return now


def test_list_names_every_row_and_its_targets(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for expected in ROWS:
        assert expected.name in printed
        assert all(target.text in printed for target in expected.targets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--row", "mlp", "nonsense"], "unknown row nonsense; there are mlp, lenet", id="unknown row"
        ),
        pytest.param(["--repeats", "0"], "--repeats must be at least 1, got 0", id="no repeats"),
        pytest.param(["--repeats", "many"], "invalid int value", id="repeats of wrong type"),
    ],
)
def test_bad_arguments_end_with_a_message_and_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{half", '{"other": 1}'])
def test_a_foreign_results_file_is_refused_and_kept(content, tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(["--output", str(path)], rows=[row(side("jaxdl"))])
    assert stopped.value.code == 2
    assert "results.json" in capsys.readouterr().err
    assert path.read_text() == content


@jax.numpy_rank_promotion("allow")  # the other frameworks rely on it
def test_tiny_row_runs_end_to_end_and_is_recorded(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rows": {"other": {"seconds": 1}}}))
    tiny = dataclasses.replace(TINY_MLP, sides=[one for one in TINY_MLP.sides if one.name in QUICK])
    assert main(["--row", "mlp", "--repeats", "2", "--output", str(path)], rows=[tiny]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert rows["other"] == {"seconds": 1}
    record = rows["mlp"]
    assert record["loss_difference"] < TINY_MLP.tolerance
    assert set(record["sides"]) == QUICK
    for one in record["sides"].values():
        if "missing" not in one:
            assert 0 < one["quartile_seconds"][0] <= one["median_seconds"] <= one["quartile_seconds"][1]
            assert one["first_call_seconds"] > 0
            assert one["blocks"] == 2
    assert record["sides"]["jaxdl"]["over_jaxdl"]["ratio"] == 1
    assert [target["text"] for target in record["targets"]] == [target.text for target in TINY_MLP.targets]
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["jax"] == jax.__version__
    assert {"date", "seconds", "matmul_gflops", "others_share_of_cores"} <= set(record)
    assert "first call" in capsys.readouterr().out


def test_time_is_per_unit_and_ratios_are_of_medians(clock):
    targets = [
        Target("at least 3", "slow", "jaxdl", at_least=3),
        Target("at least 4", "slow", "jaxdl", at_least=4),
        Target("at most 2", "slow", "jaxdl", at_most=2),
    ]
    sides = side("jaxdl", seconds=2.0, clock=clock), side("slow", seconds=6.0, clock=clock, quantum=2)
    record = measure.measure(row(*sides, targets=targets, limit=1e9), repeats=3)
    assert record["sides"]["jaxdl"]["median_seconds"] == 2.0
    assert record["sides"]["slow"] == {
        "first_call_seconds": 12.0,
        "median_seconds": 6.0,
        "quartile_seconds": [6.0, 6.0],
        "units_per_block": 4,
        "blocks": 3,
        "over_jaxdl": {"ratio": 3.0, "quartiles": [3.0, 3.0]},
    }
    assert [target["met"] for target in record["targets"]] == [True, False, False]


def test_all_sides_train_equally_long_before_their_losses_are_compared(clock):
    single, several = [], []
    sides = (
        side("jaxdl", seconds=1.0, clock=clock, calls=single),
        side("scanned", seconds=1.0, clock=clock, calls=several, quantum=4),
    )
    measure.measure(row(*sides, check_units=4), repeats=1)
    assert single[:3] == [1, 3, 4]  # first call, the rest of the first window, the window that is compared
    assert several[:2] == [4, 4]
    assert single[-2:] == [2, 4]  # to warm up, half a block; to be timed
    assert several[-2:] == [4, 4]


def test_time_limit_ends_the_turns_but_never_before_the_first(clock):
    record = measure.measure(row(side("jaxdl", seconds=1.0, clock=clock), limit=18.0), repeats=100)
    assert record["sides"]["jaxdl"]["blocks"] == 2  # 5 s before the turns, each of which takes 6
    record = measure.measure(row(side("jaxdl", seconds=1.0, clock=clock), limit=0.0), repeats=100)
    assert record["sides"]["jaxdl"]["blocks"] == 1


def test_a_side_too_slow_for_the_limit_is_left_out(clock):
    sides = side("jaxdl", seconds=1.0, clock=clock), side("slow", seconds=100.0, clock=clock)
    target = Target("faster", "slow", "jaxdl", at_least=1)
    record = measure.measure(row(*sides, targets=[target], limit=50.0), repeats=1)
    assert record["sides"]["slow"] == {
        "first_call_seconds": 100.0,
        "missing": "too slow, about 400 s a block",
    }
    assert record["targets"][0]["met"] is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("loss", [1.01, np.nan, np.array([1.0, 1.1])])
def test_sides_that_disagree_are_an_error_and_are_not_recorded(whole, loss, tmp_path, capsys, rates):
    path = tmp_path / "results.json"
    sides = side("jaxdl"), side("other", loss=loss)
    assert main(["--output", str(path)], rows=[row(*sides, whole=whole)]) == 1
    assert not path.exists()
    output = capsys.readouterr()
    assert "DisagreementError" in output.out
    assert "failed: fake" in output.err


def test_a_wrong_learning_rate_is_noticed(rates):
    def model():
        return linen.Sequential([linen.Dense(5), linen.relu, linen.Dense(3)])

    rng = np.random.default_rng(0)
    layers = supervised.random_layers(rng, [(4, 5), (5, 3)])
    right = supervised.Problem(*supervised.random_batches(rng, 2, 8, (4,), 3), layers, "momentum", 1e-1)
    wrong = dataclasses.replace(right, learning_rate=1.1e-1)
    sides = [
        dataclasses.replace(supervised.linen(model, problem), name=name)
        for name, problem in (("right", right), ("wrong", wrong))
    ]
    with pytest.raises(measure.DisagreementError, match="wrong and right do not compute the same"):
        measure.measure(row(*sides), repeats=1)


def test_a_framework_that_is_not_installed_is_reported(tmp_path, capsys, rates):
    path = tmp_path / "results.json"
    absent = side("absent", needs=("no_such_framework",))
    target = Target("faster", "absent", "jaxdl", at_least=1)
    assert main(["--output", str(path)], rows=[row(side("jaxdl"), absent, targets=[target])]) == 0
    record = json.loads(path.read_text())["rows"]["fake"]
    assert record["sides"]["absent"] == {"missing": "no_such_framework not installed"}
    assert record["targets"][0]["met"] is None
    assert "no_such_framework not installed" in capsys.readouterr().out


@pytest.fixture
def cache_dir(tmp_path):
    """An empty compilation cache that keeps every program."""
    settings = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_what_is_measured_is_compiled_and_not_read_from_disk(clock, cache_dir):
    def compile_and_count(number):
        jax.block_until_ready(jax.jit(lambda x: x + number)(1.0))
        return len(list(cache_dir.iterdir()))

    counts = [compile_and_count(1)]

    def build():
        counts.append(compile_and_count(2))
        return side("jaxdl", seconds=1.0, clock=clock).build()

    measure.measure(row(Side("jaxdl", build)), repeats=1)
    counts.append(compile_and_count(3))
    assert 0 < counts[0] == counts[1] < counts[2]


class Net(linen.Module):
    whole_image_convolution: bool

    @linen.compact
    def __call__(self, x):
        if self.whole_image_convolution:
            x = linen.Conv(5, x.shape[1:3], padding="VALID", name="named")(x)
        else:
            x = linen.Dense(5)(x.reshape(x.shape[0], -1))
        return linen.Dense(2)(x.reshape(x.shape[0], -1))


def test_weights_find_their_layer_whatever_it_is_called(key):
    rng = np.random.default_rng(0)
    layers = supervised.random_layers(rng, [(12, 5), (5, 2)])
    x = rng.normal(size=(3, 2, 2, 3)).astype(np.float32)
    nets = Net(True), Net(False)
    with jax.numpy_rank_promotion("allow"):
        got = [net.apply({"params": supervised.placed(net, x, layers)}, x) for net in nets]
    np.testing.assert_allclose(got[0], got[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[0], x.reshape(3, -1) @ layers[0][0] @ layers[1][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        pytest.param([(12, 5)], "params/Dense_1 has no counterpart", id="too few"),
        pytest.param([(12, 5), (5, 2), (7, 7)], r"no parameter of the model takes .*\(7, 7\)", id="too many"),
        pytest.param([(12, 5), (5, 2), (5, 2)], "differ in size", id="ambiguous"),
    ],
)
def test_weights_that_do_not_fit_the_model_are_refused(shapes, message):
    layers = supervised.random_layers(np.random.default_rng(0), shapes)
    with pytest.raises(ValueError, match=message):
        supervised.placed(Net(False), np.zeros((1, 2, 2, 3), np.float32), layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tiny",
    [
        pytest.param(TINY_MLP, id="mlp"),
        pytest.param(lenet.row(batch_size=4, units=2, num_batches=2), id="lenet"),
        pytest.param(lenet.tanh_row(batch_size=4, units=2, num_batches=2), id="lenet_tanh"),
        pytest.param(xor.row(epochs=20), id="xor"),
        pytest.param(xor.seeds_row(epochs=20, seeds=3), id="xor_seeds"),
        pytest.param(
            learning_rates.row(num_rates=3, steps=5, hidden=(7, 6), batch_size=8), id="learning_rates"
        ),
        pytest.param(convolution_loops.steps_row(num_steps=2, batch_size=4, units=2), id="conv_in_scan"),
        pytest.param(convolution_loops.microbatches_row(2, batch_size=4, units=2), id="conv_in_microbatches"),
    ],
)
@jax.numpy_rank_promotion("allow")
def test_every_row_agrees_with_the_other_sides(tiny, rates):
    record = measure.measure(tiny, repeats=1)
    assert record["loss_difference"] < tiny.tolerance
    assert all(target["met"] is not None or "torch" in target["over"] for target in record["targets"])

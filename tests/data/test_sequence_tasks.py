"""Sequence tasks against their own rules, worked in NumPy, and the errors that need no memory."""

import jax
import numpy as np
import pytest

from jaxdl import data

SIZE = 4000


def made(task, *args, seed=0, **settings):
    return {name: np.asarray(v) for name, v in task(jax.random.key(seed), *args, **settings).items()}


def test_adding_problem():
    table = made(data.adding_problem, SIZE, 9)
    values, marks = table["x"][..., 0], table["x"][..., 1]
    assert table["x"].shape == (SIZE, 9, 2)
    assert table["y"].shape == (SIZE, 1)
    assert set(np.unique(marks)) == {0, 1}
    places = np.argwhere(marks == 1)[:, 1].reshape(SIZE, 2)  # exactly two for each
    assert places[:, 0].max() == 3
    assert places[:, 1].min() == 4
    assert len(np.unique(places[:, 0])) == 4
    assert len(np.unique(places[:, 1])) == 5
    rows = np.arange(SIZE)
    np.testing.assert_allclose(
        table["y"][:, 0], values[rows, places[:, 0]] + values[rows, places[:, 1]], rtol=1e-6
    )
    # The variance of a sum of two uniforms: standard error 0.0022 of the mean square at 4,000 rows.
    np.testing.assert_allclose(np.mean((table["y"] - 1) ** 2), 1 / 6, atol=0.01)


def test_copy_memory():
    table = made(data.copy_memory, SIZE, 7, num_symbols=5, num_copied=3)
    x, y = table["x"], table["y"]
    assert x.shape == y.shape == (SIZE, 13)
    assert x.dtype == y.dtype == np.int32
    np.testing.assert_array_equal(x[:, :3], y[:, -3:])
    np.testing.assert_array_equal(x[0, 3:], [5] * 6 + [6] + [5] * 3)
    np.testing.assert_array_equal(y[0, :-3], [5] * 10)
    assert (x[:, 3:] == x[:1, 3:]).all()
    assert (y[:, :-3] == 5).all()
    np.testing.assert_allclose(np.bincount(x[:, :3].ravel()) / (3 * SIZE), 0.2, atol=0.02)
    # From the cue (place L + K - 1) to the first answer is one step, from the last symbol L.
    assert int(np.argmax(x[0] == 6)) == 9
    assert int(np.argmax(y[0] != 5)) == 10


def test_parity_and_reversal():
    table = made(data.parity, 50, 8)
    bits = table["x"][..., 0].astype(int)
    expected = [[sum(row[: t + 1]) % 2 for t in range(8)] for row in bits.tolist()]
    np.testing.assert_array_equal(table["y"], expected)
    assert 0.4 < bits.mean() < 0.6
    table = made(data.reverse_tokens, 50, 6, num_symbols=3)
    assert [row[::-1] for row in table["x"].tolist()] == table["y"].tolist()
    assert set(np.unique(table["x"])) == {0, 1, 2}


def test_sine_waves_follow_their_recurrence():
    table = made(data.sine_waves, 100, 40, step=0.1)
    s = np.concatenate([table["x"][:, :1], table["y"]], axis=1)[..., 0].astype(np.float64)
    np.testing.assert_array_equal(table["x"][:, 1:], table["y"][:, :-1])
    # s_{t+1} + s_{t-1} = c s_t with one c for each sequence, fitted by least squares.
    both, middle = s[:, 2:] + s[:, :-2], s[:, 1:-1]
    c = (both * middle).sum(axis=1) / (middle**2).sum(axis=1)
    np.testing.assert_allclose(both, c[:, None] * middle, atol=2e-5)
    frequency = np.arccos(c / 2) / (2 * np.pi * 0.1)
    assert frequency.min() >= 0.5
    assert frequency.max() <= 1.5
    assert np.ptp(frequency) > 0.8
    noisy = made(data.sine_waves, 100, 40, step=0.1, noise=0.3)
    np.testing.assert_allclose(np.std(noisy["x"] - table["x"]), 0.3, rtol=0.05)


@pytest.mark.parametrize(
    "task",
    [data.adding_problem, data.copy_memory, data.parity, data.reverse_tokens, data.sine_waves],
    ids=lambda task: task.__name__,
)
def test_a_key_decides_all_and_tasks_vmap(task, key):
    one, same, other = (made(task, 3, 4, seed=s) for s in (1, 1, 2))
    assert all((one[n] == same[n]).all() for n in one)
    assert any((one[n] != other[n]).any() for n in one)
    keys = jax.random.split(key, 2)
    together = jax.jit(jax.vmap(lambda k: task(k, 3, 4)))(keys)
    for name, values in task(keys[1], 3, 4).items():
        np.testing.assert_allclose(together[name][1], values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda k: data.adding_problem(k, 0, 5), "size must be at least 1, got 0", id="size"),
        pytest.param(lambda k: data.adding_problem(k, 2, 1), "length must be at least 2", id="length"),
        pytest.param(lambda k: data.copy_memory(k, 2, 0), "gap must be at least 1", id="gap"),
        pytest.param(lambda k: data.copy_memory(k, 2, 2, num_symbols=1), "num_symbols", id="symbols"),
        pytest.param(lambda k: data.sine_waves(k, 2, 2, noise=-1.0), "noise", id="noise"),
    ],
)
def test_errors(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)

"""Batches: every example once, resumable anywhere, sliced by process, read lazily."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Batches, as_arrays


def rows(n):
    return {"x": np.arange(n, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32), "label": np.arange(n)}


class Counting:
    """A source far larger than memory that counts what is read."""

    def __init__(self, n):
        self.n, self.reads = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.reads.append(i)
        return {"image": np.full((4, 4, 1), i % 251, np.uint8), "label": i}


class CountingMany(Counting):
    def __getitems__(self, indices):
        assert type(indices) is list
        return [self[i] for i in indices]


def labels(batches):
    return [batch["label"].tolist() for batch in batches]


sizes = st.integers(1, 23).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 5), st.booleans(), st.integers(1, 3))
def test_every_example_exactly_once_per_epoch(size, seed, shuffle, epochs):
    n, b = size
    batches = Batches(rows(n), b, seed=seed, shuffle=shuffle, drop_last=False, num_epochs=epochs)
    seen = labels(batches)
    assert len(seen) == epochs * len(batches) == epochs * -(-n // b)
    flat = np.concatenate(seen)
    for epoch in range(epochs):
        part = flat[epoch * n : (epoch + 1) * n]
        order = np.random.default_rng([seed, epoch]).permutation(n) if shuffle else np.arange(n)
        np.testing.assert_array_equal(part, order)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 3), st.booleans(), st.integers(0, 12), st.integers(0, 12))
def test_resuming_anywhere_equals_no_interruption(size, seed, drop_last, before, after):
    n, b = size
    make = lambda: Batches(rows(n), b, seed=seed, drop_last=drop_last)  # noqa: E731
    whole = make()
    reference = [next(whole)["label"].tolist() for _ in range(before + after)]
    first = make()
    for _ in range(before):
        next(first)
    state = json.loads(json.dumps(first.state()))
    resumed = make()
    resumed.restore(state)
    assert [next(resumed)["label"].tolist() for _ in range(after)] == reference[before:]
    assert resumed.state() == whole.state()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 30), st.booleans())
def test_process_slices_concatenate_to_the_global_batch(processes, local, n, drop_last):
    b = processes * local
    if drop_last and b > n:
        return
    make = lambda **kw: Batches(rows(n), b, seed=1, drop_last=drop_last, num_epochs=2, **kw)  # noqa: E731
    whole = list(make(process_index=0, process_count=1))
    parts = [list(make(process_index=p, process_count=processes)) for p in range(processes)]
    assert {len(part) for part in parts} == {len(whole)}
    for i, batch in enumerate(whole):
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[part[i] for part in parts])
        jax.tree.map(np.testing.assert_array_equal, joined, batch)
    assert all(len(part[i]["label"]) == local for part in parts for i in range(len(whole))) or not drop_last


def test_a_process_with_no_rows_of_the_last_batch_gets_empty_leaves():
    source = Counting(5)
    last = list(Batches(source, 4, drop_last=False, num_epochs=1, process_index=3, process_count=4))[-1]
    assert last["image"].shape == (0, 4, 4, 1)
    assert last["image"].dtype == np.uint8


@pytest.mark.parametrize(
    ("n", "b", "drop_last", "expected"),
    [
        # 000-8A, 004a-7.16c, 004b-7.10s: steps per epoch, ceil(n / b)
        (48_000, 2000, False, 24),
        (60_000, 32, False, 1875),
        (48_000, 32, False, 1500),
        (60_000, 64, False, 938),
        (17_604, 32, False, 551),
        (25_000, 32, False, 782),
        (2_059, 32, False, 65),
        (687, 32, False, 22),
        (60_000, 256, False, 235),
        (50_000, 128, False, 391),
        (50_000, 32, False, 1563),
        (50_000, 16, False, 3125),
        (60_000, 64, True, 937),
    ],
)
def test_length_is_batches_per_epoch(n, b, drop_last, expected):
    assert len(Batches({"label": np.zeros(n, np.int8)}, b, drop_last=drop_last)) == expected


def test_every_row_is_seen_in_order_unless_asked_otherwise():
    """An evaluation that forgot a setting must not lose the rest of its rows."""
    assert [len(b["label"]) for b in Batches(rows(10), 4, shuffle=False, num_epochs=1)] == [4, 4, 2]
    assert [len(b["label"]) for b in Batches(rows(10), 4, num_epochs=1)] == [4, 4]
    assert [len(b["label"]) for b in Batches(rows(10), 4, shuffle=False, drop_last=True, num_epochs=1)] == [
        4,
        4,
    ]
    assert [b["label"].shape for b in Batches(rows(10), 4, shuffle=False, stack=2, num_epochs=1)] == [(2, 4)]


@pytest.mark.parametrize("source", [Counting, CountingMany])
def test_a_huge_source_is_read_batch_by_batch(source):
    source = source(1_000_000)
    batches = Batches(source, 8, seed=3, process_index=1, process_count=2)
    assert source.reads == []
    got = [next(batches) for _ in range(3)]
    assert len(source.reads) == 12
    expected = np.random.default_rng([3, 0]).permutation(1_000_000)[:24].reshape(3, 2, 4)[:, 1]
    np.testing.assert_array_equal([batch["label"] for batch in got], expected)
    assert got[0]["image"].shape == (4, 4, 4, 1)
    assert got[0]["image"].dtype == np.uint8


def test_a_memory_map_is_not_read_at_construction(tmp_path):
    data = np.memmap(tmp_path / "x", np.float32, "w+", shape=(100, 2))
    data[57] = np.nan
    batches = Batches({"x": np.memmap(tmp_path / "x", np.float32, "r", shape=(100, 2))}, 10, shuffle=False)
    assert isinstance(batches._rows.arrays["x"], np.memmap)
    for _ in range(5):
        assert np.all(next(batches)["x"] == 0)
    with pytest.raises(ValueError, match=r"x holds NaN or infinity, first in row 57"):
        next(batches)


def test_one_object_has_one_position():
    batches = Batches(rows(6), 2, shuffle=False)
    assert next(iter(batches))["label"].tolist() == [0, 1]
    assert next(iter(batches))["label"].tolist() == [2, 3]
    assert next(batches)["label"].tolist() == [4, 5]
    assert next(batches)["label"].tolist() == [0, 1]


def test_a_finite_set_starts_anew_once_it_has_ended():
    batches = Batches(rows(5), 2, drop_last=False, num_epochs=1)
    first = labels(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert labels(batches) == first
    next(iter(batches))
    assert labels(batches) == first[1:]


def test_restoring_the_end_yields_nothing():
    batches = Batches(rows(4), 2, num_epochs=2)
    assert len(list(batches)) == 4
    resumed = Batches(rows(4), 2, num_epochs=2)
    resumed.restore(batches.state())
    assert list(resumed) == []


def test_a_stack_holds_consecutive_batches_across_epochs():
    flat, stacked = Batches(rows(7), 2, seed=4), Batches(rows(7), 2, seed=4, stack=4)
    for _ in range(4):
        batch = next(stacked)
        assert batch["x"].shape == (4, 2, 3)
        for k in range(4):
            np.testing.assert_array_equal(batch["x"][k], next(flat)["x"])
    assert flat.state() == stacked.state()
    assert [b["x"].shape for b in Batches(rows(7), 2, num_epochs=2, stack=4)] == [(4, 2, 3)]


def test_transform_runs_on_each_local_batch():
    seen = []

    def transform(batch):
        seen.append(batch["x"].shape)
        return {"y": batch["x"] * 2}

    batches = Batches(
        rows(8), 4, shuffle=False, transform=transform, stack=2, process_index=1, process_count=2
    )
    np.testing.assert_array_equal(next(batches)["y"][..., 0], [[4, 6], [12, 14]])
    assert seen == [(2, 3), (2, 3)]


def test_a_failed_read_can_be_repeated():
    class Flaky(Counting):
        failing = True

        def __getitem__(self, i):
            if self.failing:
                raise OSError("disk")
            return super().__getitem__(i)

    source = Flaky(10)
    batches = Batches(source, 2, stack=2, shuffle=False)
    with pytest.raises(OSError, match="disk"):
        next(batches)
    source.failing = False
    assert next(batches)["label"].tolist() == [[0, 1], [2, 3]]


def test_text_and_nested_examples_are_stacked():
    source = [{"text": b"a\0", "at": {"time": 1.5}}, {"text": b"bcd", "at": {"time": 2.5}}]
    batch = next(Batches(source, 2, shuffle=False))
    assert batch["text"].tolist() == [b"a\0", b"bcd"]
    np.testing.assert_array_equal(batch["at"]["time"], [1.5, 2.5])


def test_as_arrays_reads_the_whole_source_in_order():
    arrays = as_arrays(CountingMany(2500))
    np.testing.assert_array_equal(arrays["label"], np.arange(2500))
    assert arrays["image"].shape == (2500, 4, 4, 1)
    np.testing.assert_array_equal(arrays["image"][:, 0, 0, 0], np.arange(2500) % 251)


def nan_at(row):
    x = np.zeros((70_000, 1), np.float32)
    x[row] = np.inf
    return {"ok": np.zeros(70_000), "x": x}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        pytest.param(
            lambda: Batches(rows(3), 4),
            ValueError,
            "batch_size is larger than the data: got 4 for 3 ex",
            id="batch larger than the data",
        ),
        pytest.param(
            lambda: Batches(rows(3), 0),
            ValueError,
            "batch_size must be at least 1, got 0",
            id="batch of none",
        ),
        pytest.param(lambda: Batches({}, 1), ValueError, "source is empty", id="no keys"),
        pytest.param(lambda: Batches(rows(0), 1), ValueError, "source is empty", id="no rows"),
        pytest.param(lambda: Batches([], 1), ValueError, "source is empty", id="no examples"),
        pytest.param(lambda: as_arrays([]), ValueError, "source is empty", id="nothing to load"),
        pytest.param(
            lambda: Batches({"x": np.zeros(3), "y": np.zeros(4)}, 1),
            ValueError,
            "must be equally long, got x 3, y 4",
            id="different lengths",
        ),
        pytest.param(
            lambda: Batches({"x": np.float32(1)}, 1), ValueError, r"x must be an array \[N", id="scalar"
        ),
        pytest.param(
            lambda: Batches(nan_at(66_000), 1),
            ValueError,
            "x holds NaN or infinity, first in row 66000",
            id="infinity in memory",
        ),
        pytest.param(
            lambda: next(Batches([{"x": np.float32("nan")}], 1)),
            ValueError,
            "x holds NaN .* row 0",
            id="NaN read lazily",
        ),
        pytest.param(
            lambda: Batches(rows(9), 4, process_count=3),
            ValueError,
            "batch_size must be a multiple of process_count, got 4 and 3",
            id="process count",
        ),
        pytest.param(
            lambda: Batches(rows(9), 4, process_index=2, process_count=2),
            ValueError,
            "process_index must be between 0 and 1, got 2",
            id="process index",
        ),
        pytest.param(
            lambda: Batches(rows(9), 4, stack=2, drop_last=False),
            ValueError,
            "stack needs batches of one size",
            id="stack of unequal",
        ),
        pytest.param(
            lambda: Batches(rows(9), 4, stack=3, num_epochs=1),
            ValueError,
            "at most the 2 batches",
            id="stack",
        ),
        pytest.param(
            lambda: Batches(3, 1), TypeError, "random-access sequence of dicts, got int", id="no source"
        ),
        pytest.param(
            lambda: next(Batches([1, 2], 1)), TypeError, "must be a dict, got int", id="examples not dicts"
        ),
        pytest.param(
            lambda: next(Batches([{"x": np.zeros(2)}, {"x": np.zeros(3)}], 2)),
            ValueError,
            r"x cannot be batched.*\(2,\), \(3,\)",
            id="ragged examples",
        ),
        pytest.param(
            lambda: next(Batches([{"x": 1}, {"y": 1}], 2, shuffle=False)),
            ValueError,
            r"different keys: \['x'\] and \['y'\]",
            id="different keys",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("settings", "n", "message"), [
    ({"seed": 1}, 8, "made with seed=0, here it is 1"),
    ({"batch_size": 4}, 8, "made with batch_size=2, here it is 4"),
    ({"shuffle": False}, 8, "made with shuffle=True"),
    ({"drop_last": False}, 8, "made with drop_last=True"),
    ({}, 9, "made with num_examples=8, here it is 9"),
])  # fmt: skip
def test_a_state_of_other_settings_is_refused(settings, n, message):
    state = Batches(rows(8), 2).state()
    other = Batches(rows(n), **({"batch_size": 2} | settings))
    with pytest.raises(ValueError, match=message):
        other.restore(state)
    assert (other.state()["epoch"], other.state()["batch"]) == (0, 0)


def test_a_foreign_dict_is_no_state():
    with pytest.raises(ValueError, match="not a state of Batches: epoch, batch"):
        Batches(rows(8), 2).restore({"step": 3})


def test_a_state_resumes_on_another_number_of_processes():
    one = Batches(rows(8), 4, seed=2)
    next(one)
    two = Batches(rows(8), 4, seed=2, process_index=1, process_count=2)
    two.restore(one.state())
    np.testing.assert_array_equal(next(two)["label"], next(one)["label"][2:])

"""prefetch_to_device: same batches, ahead, resumable, and no thread left behind."""

import gc
import itertools
import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.data import Batches, prefetch_to_device


def make(n=10, b=2, **settings):
    return Batches({"label": np.arange(n)}, b, seed=5, **settings)


def threads():
    return [t for t in threading.enumerate() if t.name == "prefetch_to_device"]


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    wait_for(lambda: not threads())


def test_yields_the_same_batches_on_the_device():
    got = list(prefetch_to_device(make(num_epochs=2)))
    want = list(make(num_epochs=2))
    assert len(got) == len(want) == 10
    for g, w in zip(got, want):
        assert isinstance(g["label"], jax.Array)
        np.testing.assert_array_equal(g["label"], w["label"])


def test_a_finite_set_can_be_used_again():
    batches = prefetch_to_device(make(num_epochs=1))
    assert len(batches) == 5
    assert len(list(batches)) == len(list(batches)) == 5


def test_reads_ahead_by_size_and_no_further():
    read = []

    def source():
        for i in itertools.count():
            read.append(i)
            yield {"x": np.full(2, i)}

    batches = prefetch_to_device(source(), size=3)
    next(batches)
    wait_for(lambda: len(read) == 4)
    time.sleep(0.05)
    assert len(read) == 4
    batches.close()


def test_shards_over_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P(None, "data"))
    batches = prefetch_to_device(make(n=64, b=16, stack=2), sharding=sharding)
    batch = next(batches)
    assert batch["label"].sharding == sharding
    np.testing.assert_array_equal(batch["label"], next(make(n=64, b=16, stack=2))["label"])
    batches.close()


def test_a_batch_that_the_devices_cannot_share():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    batches = prefetch_to_device(make(n=64, b=12), sharding=NamedSharding(mesh, P("data")))
    with pytest.raises(
        ValueError, match=r"has shape \(12,.*which 8 devices cannot share equally: .*multiple of 8"
    ):
        next(batches)


@pytest.mark.parametrize("yielded", [0, 1, 4, 7])
def test_state_refers_to_the_last_batch_yielded(yielded):
    batches = prefetch_to_device(make(), size=3)
    for _ in range(yielded):
        next(batches)
    plain = make()
    for _ in range(yielded):
        next(plain)
    assert batches.state() == plain.state()
    resumed = prefetch_to_device(make())
    resumed.restore(batches.state())
    for _ in range(6):
        expected = next(plain)["label"]
        np.testing.assert_array_equal(next(resumed)["label"], expected)
        np.testing.assert_array_equal(next(batches)["label"], expected)
    batches.close()
    resumed.close()


def test_restore_drops_what_was_fetched_ahead():
    batches = prefetch_to_device(make(shuffle=False), size=3)
    start = batches.state()
    for _ in range(3):
        next(batches)
    batches.restore(start)
    assert next(batches)["label"].tolist() == [0, 1]
    batches.close()


def test_closing_loses_nothing():
    batches = prefetch_to_device(make(shuffle=False), size=3)
    assert next(batches)["label"].tolist() == [0, 1]
    batches.close()
    assert not threads()
    assert next(batches)["label"].tolist() == [2, 3]
    batches.close()


def test_an_error_reaches_the_consumer_after_the_good_batches():
    def source():
        yield {"x": np.zeros(2)}
        yield {"x": np.ones(2)}
        raise OSError("disk is gone")

    batches = prefetch_to_device(source(), size=4)
    assert next(batches)["x"].tolist() == [0, 0]
    assert next(batches)["x"].tolist() == [1, 1]
    with pytest.raises(OSError, match="disk is gone"):
        next(batches)
    assert not threads()
    with pytest.raises(StopIteration):
        next(batches)


def test_an_abandoned_iterator_ends_its_thread():
    batches = prefetch_to_device(make(), size=2)
    next(batches)
    assert len(threads()) == 1
    del batches
    gc.collect()
    wait_for(lambda: not threads())


def test_text_is_refused_with_the_remedy():
    batches = prefetch_to_device([{"id": np.array(["a", "b"]), "x": np.zeros(2)}])
    with pytest.raises(TypeError, match=r"\['id'\] holds text or objects.*keys=\(...\)"):
        next(batches)


def test_bad_settings():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        prefetch_to_device(make(), size=0)
    with pytest.raises(TypeError, match=r"list has no state\(\)"):
        prefetch_to_device([]).state()

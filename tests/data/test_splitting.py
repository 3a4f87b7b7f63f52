"""train_test_split and the embedded sets against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import digits, iris, logic_gates, train_test_split, xor


def table(n, classes=1):
    return {"x": np.arange(n), "label": np.arange(n) % classes}


def test_golden_sizes():
    train, test = train_test_split({"x": np.zeros(70_000, np.int8)}, test_size=0.2)  # 000-8A
    assert (len(train["x"]), len(test["x"])) == (56_000, 14_000)


@settings(deadline=None, max_examples=80)
@given(st.integers(2, 60), st.floats(0.05, 0.9), st.integers(0, 4))
def test_sizes_equal_scikit_learn_and_rows_are_kept(n, fraction, seed):
    model_selection = pytest.importorskip("sklearn.model_selection")
    held = int(np.ceil(fraction * n))
    if held >= n:
        with pytest.raises(ValueError, match="leave nothing"):
            train_test_split(table(n), test_size=fraction)
        return
    train, test = train_test_split(table(n, 3), test_size=fraction, seed=seed)
    assert len(test["x"]) == len(model_selection.train_test_split(np.arange(n), test_size=fraction)[1])
    assert sorted(np.concatenate([train["x"], test["x"]])) == list(range(n))
    np.testing.assert_array_equal(test["label"], test["x"] % 3)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(3, 20), min_size=2, max_size=4), st.floats(0.2, 0.4), st.integers(0, 3))
def test_stratified_counts_equal_scikit_learn_up_to_ties(counts, fraction, seed):
    model_selection = pytest.importorskip("sklearn.model_selection")
    y = np.repeat(np.arange(len(counts)), counts)
    held = int(np.ceil(fraction * len(y)))
    if held < len(counts):
        return
    train, test = train_test_split({"y": y}, test_size=fraction, seed=seed, stratify="y")
    ours = np.bincount(test["y"], minlength=len(counts))
    shares = held * np.array(counts) / sum(counts)
    assert ours.sum() == held
    assert np.all(np.abs(ours - shares) < 1)
    theirs = np.bincount(
        model_selection.train_test_split(y, test_size=fraction, stratify=y)[1], minlength=len(counts)
    )
    np.testing.assert_allclose(np.sort(np.abs(ours - shares)), np.sort(np.abs(theirs - shares)), atol=1e-9)
    np.testing.assert_array_equal(np.bincount(train["y"], minlength=len(counts)) + ours, counts)


def test_validation_part():
    parts = train_test_split(table(100, 4), test_size=0.2, validation_size=12, seed=3, stratify="label")
    assert [len(part["x"]) for part in parts] == [68, 12, 20]
    assert sorted(np.concatenate([part["x"] for part in parts])) == list(range(100))
    for part in parts:
        assert np.ptp(np.bincount(part["label"])) == 0


def test_seed_decides():
    same = [train_test_split(table(30), seed=s)[1]["x"].tolist() for s in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"test_size": 1.5}, ValueError, "test_size must lie between 0 and 1"),
    ({"test_size": 0.0}, ValueError, "test_size must lie between 0 and 1"),
    ({"test_size": 0}, ValueError, "test_size must be at least 1"),
    ({"test_size": "a"}, TypeError, "test_size must be a fraction"),
    ({"test_size": 6, "validation_size": 4}, ValueError, r"\(6 \+ 4\) leave nothing of 10"),
    ({"stratify": "y"}, ValueError, "stratify must be one of 'x', 'label', got 'y'"),
    ({"stratify": "x"}, ValueError, "class 0 has 1 examples, too few for 2 parts"),
    ({"stratify": "label", "test_size": 2}, ValueError, "a part of 2 cannot hold 3 classes"),
])  # fmt: skip
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        train_test_split(table(10, 3), **settings)


def test_bad_arrays():
    with pytest.raises(ValueError, match="empty dict"):
        train_test_split({})
    with pytest.raises(ValueError, match="y and x must agree"):
        train_test_split({"x": np.zeros(3), "y": np.zeros(4)})


@pytest.mark.parametrize(("load", "oracle", "key", "held_out"), [
    (digits, "load_digits", "image", 360), (iris, "load_iris", "features", 30)
])  # fmt: skip
def test_embedded_sets_are_scikit_learns(load, oracle, key, held_out):
    bunch = getattr(pytest.importorskip("sklearn.datasets"), oracle)()
    whole, train, test = load(), load("train"), load("test")
    np.testing.assert_array_equal(
        whole[key].reshape(len(whole[key]), -1), bunch.data.astype(whole[key].dtype)
    )
    np.testing.assert_array_equal(whole["label"], bunch.target)
    assert whole["label"].dtype == np.int32
    assert len(test["label"]) == held_out
    joined = np.concatenate([train[key], test[key]]).reshape(len(whole[key]), -1)
    np.testing.assert_array_equal(np.sort(joined, axis=0), np.sort(bunch.data.astype(joined.dtype), axis=0))
    np.testing.assert_allclose(
        np.bincount(test["label"]), np.bincount(whole["label"]) * held_out / len(joined), atol=1
    )
    np.testing.assert_array_equal(load("test")[key], test[key])


def test_the_held_out_digits_stay_the_same():
    test = digits("test")
    assert digits()["image"].shape == (1797, 8, 8, 1)
    assert digits()["image"].dtype == np.uint8
    assert test["label"][:10].tolist() == [6, 6, 6, 2, 5, 6, 6, 2, 2, 1]
    assert int(test["image"].astype(int).sum()) == 113069


def test_unknown_split():
    with pytest.raises(ValueError, match="split must be one of 'train', 'test', None, got 'valid'"):
        digits("valid")


def test_truth_tables():  # 000-G2
    gates = logic_gates()
    np.testing.assert_array_equal(gates["x"], [[0, 0], [0, 1], [1, 0], [1, 1]])
    expected = {"and": "0001", "or": "0111", "nand": "1110", "nor": "1000", "xor": "0110", "xnor": "1001"}
    for name, outputs in expected.items():
        assert gates[name].shape == (4, 1)
        assert "".join(str(int(v)) for v in gates[name][:, 0]) == outputs
    np.testing.assert_array_equal(xor()["y"], gates["xor"])
    np.testing.assert_array_equal(xor(bipolar=True)["y"], [[-1], [1], [1], [-1]])
    np.testing.assert_array_equal(xor(bipolar=True)["x"], 2 * gates["x"] - 1)
    three = logic_gates(3)
    np.testing.assert_array_equal(three["xor"][:, 0], [bin(i).count("1") % 2 for i in range(8)])
    np.testing.assert_array_equal(three["and"][:, 0], [0] * 7 + [1])
    with pytest.raises(ValueError, match="num_inputs must be at least 2"):
        logic_gates(1)

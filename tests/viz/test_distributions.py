"""Classes, features, anomaly scores: the counts that are drawn."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import viz

RNG = np.random.default_rng(0)


def test_class_counts(drawn):
    labels = jnp.array([0, 3, 3, 1, 3, 0])
    (axes,) = drawn(viz.class_counts(labels, ["a", "b", "c", "d", "e"]))
    assert [bar.get_width() for bar in axes.patches] == [2, 1, 0, 3, 0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c", "d", "e"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["2  (33.3%)", "1  (16.7%)", "0  (0.0%)", "3  (50.0%)", "0  (0.0%)"]
    assert axes.get_title() == "6 examples of 5 classes"
    # The texts end inside the figure.
    right = max(text.get_window_extent().x1 for text in axes.texts)
    assert right < axes.get_figure().bbox.x1


def bars(axes):
    return [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]


def test_feature_histogram(drawn):
    income = RNG.lognormal(10, 0.5, size=200)
    income[:7] = np.nan
    known = income[7:]
    lower, upper, _, _ = drawn(viz.feature_histogram({"income in $": income, "rooms": [1, 3, 3, 4]}))
    assert (lower.get_xlabel(), lower.get_ylabel()) == ("income in $", "examples")
    assert upper.get_title() == f"mean {known.mean():,.0f}, s.d. {known.std():,.0f}, 7 missing"
    left, right, heights = np.transpose(bars(lower))
    np.testing.assert_allclose([left[0], right[-1]], [known.min(), known.max()])
    np.testing.assert_allclose(np.diff(left), np.diff(left)[0])
    edges = np.append(left, right[-1])
    np.testing.assert_array_equal(
        heights[:-1], [np.sum((known >= a) & (known < b)) for a, b in itertools.pairwise(edges[:-1])]
    )
    assert heights.sum() == 193
    # Tukey's box: quartiles, and whiskers to the last values within 1.5 boxes.
    low, middle, high = np.percentile(known, [25, 50, 75])
    box = upper.patches[0].get_path().vertices[:, 0]
    np.testing.assert_allclose([box.min(), box.max()], [low, high])
    inside = known[(known >= low - 1.5 * (high - low)) & (known <= high + 1.5 * (high - low))]
    whiskers = np.concatenate([line.get_xdata() for line in upper.lines[:2]])
    np.testing.assert_allclose([whiskers.min(), whiskers.max()], [inside.min(), inside.max()])
    np.testing.assert_allclose(upper.lines[4].get_xdata(), middle)
    assert len(upper.lines[5].get_xdata()) == len(known) - len(inside)
    assert upper.get_xlim() == lower.get_xlim()


def test_feature_histogram_of_few_integers_has_a_bar_for_each(drawn):
    lower, upper = drawn(viz.feature_histogram({"rooms": [1, 3, 3, 4]}))
    assert bars(lower) == [(0.5, 1.5, 1), (1.5, 2.5, 0), (2.5, 3.5, 2), (3.5, 4.5, 1)]
    assert upper.get_title() == "mean 2.75, s.d. 1.09"
    drawn(viz.feature_histogram({"constant": np.full(3, 0.3)}))
    far = np.append(RNG.normal(size=99), 1e12)  # the rule of thumb alone would ask for 10^12 bars
    assert len(drawn(viz.feature_histogram({"far": far}))[0].patches) == 60


def test_feature_scatter_against_a_target(drawn):
    x = {"a in m": RNG.normal(size=40), "b in s": RNG.normal(size=40), "constant": np.ones(40)}
    y = x["a in m"] + 0.5 * RNG.normal(size=40)
    axes = drawn(viz.feature_scatter(x, target=y, target_name="cost in $"))
    for panel, (name, values) in zip(axes, x.items()):
        np.testing.assert_allclose(panel.collections[0].get_offsets(), np.stack([values, y], 1))
        assert panel.get_xlabel() == name
    centred = lambda v: v - v.mean()  # noqa: E731
    a, c = centred(x["a in m"]), centred(y)
    assert axes[0].get_title() == f"correlation {a @ c / np.sqrt((a @ a) * (c @ c)):.2f}"
    assert axes[2].get_title() == "correlation none"
    assert [panel.get_ylabel() for panel in axes] == ["cost in $", "", ""]


def test_feature_scatter_of_classes(drawn, legend):
    x = {name: RNG.normal(size=20) for name in "abc"}
    labels = np.arange(20) % 2
    axes = drawn(viz.feature_scatter(x, labels=labels, class_names=["no", "yes"]))
    pairs = [(panel.get_xlabel(), panel.get_ylabel()) for panel in axes]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    for panel, (first, second) in zip(axes, pairs):
        for label, dots in enumerate(panel.collections):
            expected = np.stack([x[first], x[second]], 1)[labels == label]
            np.testing.assert_allclose(dots.get_offsets(), expected)
    assert legend(axes[2]) == ["no", "yes"]


def test_anomaly_histogram(drawn, legend):
    normal, strange = np.arange(100) / 100, np.array([0.5, 1.5, 1.75, 2.0])
    figure = viz.anomaly_histogram({"normal": normal, "strange": strange}, 0.5, score_name="error")
    (axes,) = drawn(figure)
    # 0.5 itself is not above 0.5.
    assert legend(axes) == ["normal (100): 49.0% above", "strange (4): 75.0% above", "threshold 0.5"]
    outline = [patch for patch in axes.patches if not patch.get_fill()]
    for patch, above in zip(outline, (0.49, 0.75)):
        shares, edges, _ = patch.get_data()
        np.testing.assert_allclose(shares.sum(), 1)
        np.testing.assert_allclose([edges[0], edges[-1]], [0, 2])
        middles = (edges[1:] + edges[:-1]) / 2
        np.testing.assert_allclose(shares[middles > 0.5].sum(), above)  # no bar crosses the threshold
        assert len(shares) == 10
    assert outline[0].get_linestyle() != outline[1].get_linestyle()
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "error"
    assert axes.yaxis.get_major_formatter()(0.175, 0) == "17.5%"


def test_anomaly_histogram_of_scores_that_span_decades(drawn, legend):
    groups = {"normal": RNG.lognormal(-4, 0.5, 400), "strange": RNG.lognormal(2, 0.5, 400)}
    (axes,) = drawn(viz.anomaly_histogram(groups))
    assert axes.get_xscale() == "log"
    _, edges, _ = axes.patches[1].get_data()
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])
    assert legend(axes) == ["normal (400)", "strange (400)"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.class_counts(np.ones(3)), TypeError, "labels must be integers"),
        (lambda: viz.class_counts([0, -1]), ValueError, "labels must hold classes from 0, got -1"),
        (lambda: viz.class_counts([[0]]), ValueError, "labels must have rank 1"),
        (
            lambda: viz.class_counts([0, 2], ["a", "b"]),
            ValueError,
            "class_names must be as many as classes, 3",
        ),
        (lambda: viz.feature_histogram({}), ValueError, "features must have at least one"),
        (lambda: viz.feature_histogram({"a": [np.nan]}), ValueError, "a must have finite values"),
        (
            lambda: viz.feature_histogram({"a": [1, np.inf]}),
            ValueError,
            "a must have finite values, got 1 infinite",
        ),
        (lambda: viz.feature_histogram({"a": np.ones((2, 2))}), ValueError, "a must have rank 1"),
        (lambda: viz.feature_scatter({"a": [1]}), ValueError, "give either target or labels"),
        (lambda: viz.feature_scatter({"a": [1]}, target=[1], labels=[1]), ValueError, "give either"),
        (
            lambda: viz.feature_scatter({"a": [1, 2]}, target=[1]),
            ValueError,
            "a must have the shape of target",
        ),
        (lambda: viz.feature_scatter({}, target=[1]), ValueError, "features must have at least one"),
        (lambda: viz.feature_scatter({"a": [1]}, labels=[1]), ValueError, "must be 2 to 5, got 1"),
        (
            lambda: viz.feature_scatter({"a": [1, 2], "b": [1, 2, 3]}, labels=[0, 1]),
            ValueError,
            "b must have the shape of a",
        ),
        (
            lambda: viz.feature_scatter({"a": [1, 2], "b": [1, 2]}, labels=[0]),
            ValueError,
            r"labels must have shape \(2\), got \(1,\)",
        ),
        (lambda: viz.anomaly_histogram({}), ValueError, "scores must have at least one group"),
        (lambda: viz.anomaly_histogram({"a": [1, np.nan]}), ValueError, "a must be finite, got 1 scores"),
        (lambda: viz.anomaly_histogram({"a": [[1]]}), ValueError, "a must have rank 1"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

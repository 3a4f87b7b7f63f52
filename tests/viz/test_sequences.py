"""Attention and unrolled nets."""

import collections

import numpy as np
import pytest

from jaxdl import viz

RNG = np.random.default_rng(0)


def ticks(labels):
    return [label.get_text() for label in labels]


def test_attention_map(drawn, picture):
    weights = RNG.uniform(size=(5, 2, 3))
    axes = drawn(viz.attention_map(weights, ["er", "geht"], ["he", "is", "going"]))
    assert [panel.get_title() for panel in axes] == [f"head {i}" for i in range(5)]
    for panel, head in zip(axes, weights):
        np.testing.assert_array_equal(picture(panel), head)
        assert panel.images[0].get_clim() == (0, weights.max())  # one scale for all heads
        assert ticks(panel.get_xticklabels()) == ["he", "is", "going"]
    assert ticks(axes[0].get_yticklabels()) == ticks(axes[4].get_yticklabels()) == ["er", "geht"]
    assert not axes[1].get_yticks().size
    assert [bool(panel.get_xlabel()) for panel in axes] == [False, True, True, True, True]
    assert [bool(panel.get_ylabel()) for panel in axes] == [True, False, False, False, True]


def test_attention_map_of_one_head(drawn, picture):
    axes = drawn(viz.attention_map(np.tril(np.ones((50, 50)))))[0]
    assert axes.get_title() == "attention"
    assert picture(axes).sum() == 50 * 51 / 2
    assert np.array_equal(axes.get_xticks(), axes.get_xticks().astype(int))


def texts(axes):
    return collections.Counter(text.get_text() for text in axes.texts)


def test_unrolled_graph(drawn):
    (axes,) = drawn(viz.unrolled_graph(3))
    found = texts(axes)
    for name in "xhy":
        assert {f"${name}_{{{step}}}$" for step in "t123"} <= set(found)
    assert found["$h_{0}$"] == 1
    # In the folded net and in every copy each weight stands once.
    assert (found["$W_x$"], found["$W_h$"], found["$W_y$"]) == (4, 4, 4)
    circles = [patch for patch in axes.patches if type(patch).__name__ == "Circle"]
    arrows = [patch for patch in axes.patches if type(patch).__name__ == "FancyArrowPatch"]
    assert (len(circles), len(arrows)) == (12, 12)
    assert ":" not in {arrow.get_linestyle() for arrow in arrows}
    assert axes.get_title() == "recurrent net, unrolled over 3 steps"


def test_unrolled_graph_of_layers_cut_into_windows(drawn):
    (axes,) = drawn(viz.unrolled_graph(5, num_layers=2, last_output=True, window=2))
    found = texts(axes)
    assert [name for name in found if name.startswith("$y")] == ["$y_{t}$", "$y_{5}$"]
    assert (found["$W^{1}_h$"], found["$W^{2}_h$"], found["$W_y$"]) == (6, 6, 2)
    dotted = [patch for patch in axes.patches if patch.get_linestyle() == ":"]
    assert len(dotted) == 4  # both layers, before steps 3 and 5
    states = {text.get_text(): text.get_position() for text in axes.texts}
    tips = sorted(tuple(patch.get_path().get_extents().p1) for patch in dotted)
    ends = [states[f"$h^{{{layer}}}_{{{step}}}$"] for step in (3, 5) for layer in (1, 2)]
    np.testing.assert_allclose(tips, np.subtract(ends, [0.3, 0]), atol=0.15)
    assert "every 2" in axes.get_title()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.attention_map(np.ones(3)), ValueError, "weights must have rank 2 or 3"),
        (lambda: viz.attention_map(-np.ones((3, 3))), ValueError, "finite and not negative: give them after"),
        (
            lambda: viz.attention_map(np.ones((3, 2)), ["a"]),
            ValueError,
            "queries must be as many as the weights', 3",
        ),
        (
            lambda: viz.attention_map(np.ones((3, 2)), keys=["a"]),
            ValueError,
            "keys must be as many as the weights', 2",
        ),
        (lambda: viz.unrolled_graph(0), ValueError, "num_steps must be between 1 and 12, got 0"),
        (lambda: viz.unrolled_graph(num_layers=5), ValueError, "num_layers must be between 1 and 4"),
        (lambda: viz.unrolled_graph(window=0), ValueError, "window must be at least 1"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

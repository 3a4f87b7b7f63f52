"""Paths over functions and cuts through losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import viz


def bowl(p):
    return p[0] ** 2 + 10 * p[1] ** 2


def relief(axes):
    """The filled contours: the first of the axes' collections."""
    return axes.collections[0]


def test_optimizer_paths(drawn, legend):
    slow = np.array([[4.0, 1.0], [2.0, 0.5], [1.0, 0.1]])
    wild = np.array([[4.0, 1.0], [-4.0, -1.5], [np.inf, 0.0], [0.0, 0.0]])
    figure = viz.optimizer_paths(
        bowl, {"slow": slow, "wild": wild}, minima=[[0, 0]], name="a bowl", resolution=21
    )
    axes, bar = drawn(figure)
    lines = {
        line.get_label().split(":")[0]: line for line in axes.lines if not line.get_label().startswith("_")
    }
    np.testing.assert_allclose(lines["slow"].get_xydata(), slow)
    np.testing.assert_allclose(lines["wild"].get_xydata(), wild[:2])
    np.testing.assert_allclose(lines["start"].get_xydata(), [[4, 1]])
    np.testing.assert_allclose(lines["minimum"].get_xydata(), [[0, 0]])
    assert legend(axes) == ["slow: 1.1 after 2 steps", "wild: diverged at step 2", "start", "minimum"]
    assert lines["slow"].get_linestyle() != lines["wild"].get_linestyle()
    # All of both paths is shown, with 12 % around.
    np.testing.assert_allclose(axes.get_xlim(), [-4 - 0.12 * 8, 4 + 0.12 * 8], rtol=1e-6)
    np.testing.assert_allclose(axes.get_ylim(), [-1.5 - 0.12 * 2.5, 1 + 0.12 * 2.5], rtol=1e-6)
    # The levels reach from the lowest to the highest point of the grid.
    first, second = (np.linspace(*limits, 21) for limits in (axes.get_xlim(), axes.get_ylim()))
    heights = first[None] ** 2 + 10 * second[:, None] ** 2
    levels = relief(axes).levels
    np.testing.assert_allclose(levels[[0, -1]], [heights.min(), heights.max()], rtol=1e-4)
    np.testing.assert_allclose(levels[-2], np.percentile(heights, 85), rtol=1e-4)
    assert bar.get_ylabel() == "value of a bowl"


def test_optimizer_paths_within_limits(drawn, legend):
    # Not a number left of the origin, flat right of it.
    half = lambda p: jnp.where(p[0] < 0, jnp.nan, 3.0)  # noqa: E731
    axes, _ = drawn(
        viz.optimizer_paths(half, {"a": [[9, 9], [-1, 0]]}, limits=((-2, 2), (-1, 1)), resolution=9)
    )
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-1, 1))
    np.testing.assert_allclose(relief(axes).levels, [2.5, 3.5])
    assert legend(axes) == ["a: diverged at step 2", "start"]


def test_loss_surface(drawn, legend):
    params = {"w": jnp.array([[1.0, 2.0]]), "b": jnp.array([0.5])}
    directions = (
        {"w": jnp.array([[1.0, 0.0]]), "b": jnp.zeros(1)},
        {"w": jnp.array([[0.0, 2.0]]), "b": jnp.ones(1)},
    )
    # 3 (1 + a)^2 + (2 + 2 b)^2 + (0.5 + b)^2: along a it is lowest at -1, along b at -0.9.
    loss = lambda p: 3 * p["w"][0, 0] ** 2 + p["w"][0, 1] ** 2 + p["b"][0] ** 2  # noqa: E731
    figure = viz.loss_surface(loss, params, directions, radius=1.0, resolution=21, names=("one", "two"))
    axes, bar = drawn(figure)
    side = np.linspace(-1, 1, 21)
    heights = 3 * (1 + side[None]) ** 2 + (2 + 2 * side[:, None]) ** 2 + (0.5 + side[:, None]) ** 2
    levels = relief(axes).levels
    ranks = [0, 0.1, 0.3, 1, 3, 7, 15, 25, 35, 45, 55, 65, 75, 85, 100]
    np.testing.assert_allclose(levels, np.percentile(heights, ranks), rtol=1e-4)
    here, lowest = axes.lines
    np.testing.assert_array_equal(here.get_xydata(), [[0, 0]])
    np.testing.assert_allclose(lowest.get_xydata(), [[-1, -0.9]], rtol=1e-6)
    assert legend(axes) == ["params: 7.25", "lowest here: 0.2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("one", "two")
    assert bar.get_ylabel() == "loss"


def test_loss_surface_at_a_minimum(drawn, legend):
    loss = lambda p: jnp.sum(jnp.log1p(jnp.square(p)))  # noqa: E731
    figure = viz.loss_surface(loss, np.zeros(2), (np.array([1.0, 0]), np.array([0, 1.0])), resolution=5)
    assert legend(drawn(figure)[0]) == ["params: 0"]


def test_random_directions():
    key = jax.random.key(0)
    kernel = jnp.sin(jnp.arange(1.0, 73.0)).reshape(3, 3, 2, 4) * jnp.array([[[[1.0, 10.0, 0.0, 0.1]]]])
    params = {"kernel": kernel, "bias": jnp.ones(4), "half": jnp.ones((2, 3), jnp.bfloat16)}
    fast_to_compile = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    first, second = jax.jit(viz.random_directions, compiler_options=fast_to_compile)(key, params)
    for direction in (first, second):
        for name, rtol in (("kernel", 1e-5), ("half", 1e-2)):
            got, filters = (np.asarray(tree[name], np.float64) for tree in (direction, params))
            axes = tuple(range(got.ndim - 1))
            np.testing.assert_allclose(
                np.sqrt(np.sum(got**2, axes)), np.sqrt(np.sum(filters**2, axes)), rtol=rtol
            )
        np.testing.assert_array_equal(direction["bias"], 0)
        assert direction["half"].dtype == jnp.bfloat16
    # Of one filter of 18 weights: neither the same nor opposite.
    a, b = (np.asarray(d["kernel"][..., 1]).ravel() / 10 for d in (first, second))
    assert abs(a @ b) / np.sqrt((a @ a) * (b @ b)) < 0.8
    with pytest.raises(TypeError, match="must be floating point, got int32"):
        viz.random_directions(key, {"a": jnp.ones((2, 2), jnp.int32)})


ONE, TWO = np.ones(2), np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.optimizer_paths(bowl, {}), ValueError, "paths must have at least one optimizer"),
        (
            lambda: viz.optimizer_paths(bowl, {"a": np.ones((3, 3))}),
            ValueError,
            r"a must have shape \(any, 2\)",
        ),
        (
            lambda: viz.optimizer_paths(bowl, {"a": [[np.nan, 1]]}),
            ValueError,
            "a must start at a finite point",
        ),
        (
            lambda: viz.optimizer_paths(lambda p: p, {"a": [[1, 1]]}),
            ValueError,
            "function must return one number",
        ),
        (
            lambda: viz.optimizer_paths(bowl, {"a": [[1, 1]]}, limits=((1, 0), (0, 1))),
            ValueError,
            "limits must be two pairs",
        ),
        (
            lambda: viz.optimizer_paths(lambda p: p[0] * jnp.nan, {"a": [[1, 1]]}),
            ValueError,
            "function must be finite somewhere",
        ),
        (lambda: viz.loss_surface(jnp.sum, ONE, (ONE,)), ValueError, "directions must be two, got 1"),
        (
            lambda: viz.loss_surface(jnp.sum, ONE, (ONE, [ONE])),
            ValueError,
            "the second direction must be like",
        ),
        (
            lambda: viz.loss_surface(jnp.sum, ONE, (TWO, ONE)),
            ValueError,
            r"the first direction of params must have the shape of params, \(2,\), got \(3,\)",
        ),
        (lambda: viz.loss_surface(lambda p: p, ONE, (ONE, ONE)), ValueError, "loss must return one number"),
        (lambda: viz.loss_surface(jnp.sum, ONE, (ONE, ONE), radius=0), ValueError, "radius must be positive"),
        (
            lambda: viz.loss_surface(jnp.sum, ONE, (ONE, ONE), resolution=1),
            ValueError,
            "resolution must be at least 2",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Upsampling: PyTorch's interpolation with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}


@pytest.mark.parametrize(
    ("shape", "settings", "sizes"),
    [
        pytest.param((2, 4, 5, 3), {"scale": 2}, (8, 10), id="twice"),
        pytest.param((2, 4, 5, 3), {"scale": (3, 1)}, (12, 5), id="one-axis-of-two"),
        pytest.param((2, 4, 5, 3), {"sizes": (7, 12)}, (7, 12), id="to-a-size"),
        pytest.param((2, 5, 3), {"sizes": (8,)}, (8,), id="a-signal"),
        pytest.param((1, 2, 3, 2, 2), {"sizes": (3, 6, 4)}, (3, 6, 4), id="a-volume"),
        pytest.param((2, 1, 3, 2), {"sizes": (4, 6)}, (4, 6), id="from-a-single-value"),
    ],
)
def test_matches_torch(shape, settings, sizes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    g = rng.normal(size=(shape[0], *sizes, shape[-1])).astype(np.float32)

    @jax.jit
    def ours(x, g):
        def run(function, **more):
            y, pullback = jax.vjp(lambda x: function(x, **settings, **more), x)
            return y, pullback(g)[0]

        return (
            run(nn.upsample_nearest),
            run(nn.upsample_bilinear),
            run(nn.upsample_bilinear, align_corners=True),
        )

    lines = MODES[len(shape)]
    theirs = [("nearest", {}), (lines, {"align_corners": False}), (lines, {"align_corners": True})]
    for (mode, more), (y, gradient) in zip(theirs, ours(x, g)):
        there = torch.tensor(np.moveaxis(x, -1, 1).astype(np.float64), requires_grad=True)
        expected = torch.nn.functional.interpolate(there, size=sizes, mode=mode, **more)
        expected.backward(torch.tensor(np.moveaxis(g, -1, 1).astype(np.float64)))
        np.testing.assert_allclose(
            np.moveaxis(y, -1, 1), expected.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=mode
        )
        np.testing.assert_allclose(
            np.moveaxis(gradient, -1, 1), there.grad.numpy(), rtol=1e-5, atol=1e-5, err_msg=mode
        )


def test_a_plane_stays_a_plane():
    """Lines reproduce a linear function: exactly with the corners aligned, but for the border otherwise."""
    x = (jnp.arange(4.0)[:, None] + 10 * jnp.arange(3.0)[None])[None, :, :, None]
    y = nn.upsample_bilinear(x, sizes=(7, 9), align_corners=True)[0, :, :, 0]
    np.testing.assert_allclose(y, np.linspace(0, 3, 7)[:, None] + np.linspace(0, 20, 9), rtol=1e-6, atol=1e-6)
    y = nn.upsample_bilinear(x, 2)[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(y, np.arange(0.25, 3, 0.5)[:, None] + np.arange(2.5, 20, 5), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda x: nn.upsample_nearest(x), ValueError, "one of scale and sizes", id="neither"),
        pytest.param(
            lambda x: nn.upsample_nearest(x, 2, sizes=(8, 8)), ValueError, "one of scale and sizes", id="both"
        ),
        pytest.param(lambda x: nn.upsample_bilinear(x, 0), ValueError, "scale must be at least 1", id="zero"),
        pytest.param(
            lambda x: nn.upsample_bilinear(x, sizes=(2, 8)), ValueError, "at least those of x", id="smaller"
        ),
        pytest.param(lambda x: nn.upsample_bilinear(x, sizes=(8,)), ValueError, "sizes must be", id="axes"),
        pytest.param(lambda x: nn.upsample_bilinear(x[0, 0], 2), ValueError, "x must have rank", id="rank"),
        pytest.param(lambda x: nn.upsample_nearest(x.astype(int), 2), TypeError, "x must be", id="dtype"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call(jnp.ones((1, 4, 4, 1)))

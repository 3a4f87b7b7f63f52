"""Radial basis functions.

Shapes: B batch, N training rows, ... any input axes (flattened), D their product, C centres, K outputs.
"""

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks, nn
from jaxdl.models.dense.distances import squared_distances
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


def _radial(x: Array, centers: Array, log_width: Array) -> Array:
    """exp(-|x - m_c|^2 / (2 s_c^2)), float32 at least, [B, C]."""
    return jnp.exp(-0.5 * squared_distances(x, centers) * jnp.exp(-2 * log_width)[None])


class RBFNetwork(linen.Module):
    """A net of one hidden layer whose units answer to what is near their centres.

    phi_c(x) = exp(-|x - m_c|^2 / (2 s_c^2)), y = phi(x) W + b

    `fit` takes the centres, from `models.competitive.KMeans` or from the data, and solves for W and b by least
    squares. All parameters have gradients, so it can be trained instead, or after that; s is kept positive as the
    exponential of the parameter `log_width`. The inputs should have one scale: a distance is one number.

        centers = KMeans(20).fit(x, key=key)["params"]["centers"]
        model = RBFNetwork(20, 1)
        variables = model.fit(x, targets, centers)

    Attributes:
      num_centers: C.
      num_classes: K, number of outputs.
      dtype: of the hidden values and outputs; distances are computed in float32, parameters stay float32.
      center_init: initial centres of `init`, [C, D].
      kernel_init: initial W.

    Source: Broomhead & Lowe, "Multivariable Functional Interpolation and Adaptive Networks", 1988; widths: Moody &
    Darken, "Fast Learning in Networks of Locally-Tuned Processing Units", 1989.
    """

    num_centers: int
    num_classes: int
    dtype: Dtype | None = None
    center_init: Initializer = nn.normal_init(1.0)
    kernel_init: Initializer = nn.lecun_normal()

    def setup(self):
        self.output = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=self.kernel_init)

    @linen.compact
    def hidden(self, x: Array) -> Array:
        """phi, float [B, C], from float [B, ...]."""
        x = nn.flatten(x)
        centers = self.param("centers", self.center_init, (self.num_centers, x.shape[-1]))
        log_width = self.param("log_width", nn.zeros_init(), (self.num_centers,))
        phi = _radial(x, centers, log_width)
        return phi.astype(x.dtype if self.dtype is None else self.dtype)

    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to values or logits [B, K]. `train` changes nothing."""
        del train
        return self.output(self.hidden(x))

    def fit(
        self,
        x: Array,
        targets: Array,
        centers: Array,
        *,
        widths: Array | float | None = None,
        l2: float = 1e-6,
    ) -> dict:
        """The variables with these centres and the W and b of least squares.

        W, b = argmin mean_n |phi(x_n) W + b - t_n|^2 + l2 |W|^2

        Args:
          x: float [N, ...].
          targets: float [N, K].
          centers: float [C, D].
          widths: s, positive, float [C] or one for all; None takes for each centre the root of the mean squared
            distance to its two nearest others, so that neighbours overlap.
          l2: at least 0; neighbouring units say nearly the same, which a little of it keeps from large opposite
            weights.

        Returns:
          `{"params": ...}` as `init` gives it, float32.

        Raises:
          ValueError: shapes that do not fit, l2 below 0, or one centre and no width.
          TypeError: an array is not floating point.
        """
        checks.floating(x=x, targets=targets, centers=centers)
        checks.non_negative(l2=l2)
        x = nn.flatten(x).astype(jnp.float32)
        checks.shape((x.shape[0], self.num_classes), targets=targets)
        checks.shape((self.num_centers, x.shape[1]), centers=centers)
        centers, targets = jnp.asarray(centers, jnp.float32), jnp.asarray(targets, jnp.float32)
        if widths is None:
            if self.num_centers < 2:
                raise ValueError("widths must be given for a single centre, which has no neighbour")
            apart = squared_distances(centers, centers) + jnp.diag(jnp.full(len(centers), jnp.inf))
            nearest = -jax.lax.top_k(-apart, min(2, self.num_centers - 1))[0]
            widths = jnp.sqrt(jnp.mean(nearest, axis=1))
        checks.rank((0, 1), widths=widths)
        if jnp.ndim(widths) == 1:
            checks.shape((self.num_centers,), widths=widths)
        log_width = jnp.broadcast_to(jnp.log(jnp.asarray(widths, jnp.float32)), (self.num_centers,))
        hidden = {"centers": centers, "log_width": log_width}
        phi = _radial(x, centers, log_width)
        means = jnp.mean(phi, axis=0), jnp.mean(targets, axis=0)
        price = (l2 * len(x)) ** 0.5 * jnp.eye(self.num_centers)
        rows = jnp.concatenate([phi - means[0][None], price])
        below = jnp.concatenate([targets - means[1][None], jnp.zeros((self.num_centers, self.num_classes))])
        kernel = jnp.linalg.lstsq(rows, below)[0]
        bias = means[1] - jnp.matmul(means[0], kernel, precision="highest")
        return {"params": {**hidden, "output": {"kernel": kernel, "bias": bias}}}

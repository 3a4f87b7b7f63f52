"""One affine map, fitted in six ways: by error correction, least squares, shrinkage, likelihood and margin.

Shapes: B batch, N training rows, ... any input axes (flattened), D their product, K outputs.
All compute y = x W + b from D K + K parameters, under "Dense_0" as in `MLP`, and differ in the loss that W and b
are meant for. Where that loss has its minimum in closed form or within reach of a short loop, the pure method
`fit` returns the variables there: jittable, with nothing random.
"""

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks, nn
from jaxdl.nn.initializers import Initializer
from jaxdl.types import Array, Dtype


class _LinearUnits(linen.Module):
    """y = x W + b. Attributes: as those below say."""

    features: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = nn.zeros_init()
    bias_init: Initializer = nn.zeros_init()

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to net inputs, float [B, K]. `train` changes nothing."""
        del train
        layer = nn.Dense(
            self.features, self.use_bias, self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        return layer(nn.flatten(x))


class Adaline(_LinearUnits):
    """Adaptive linear neurons: the error is taken of the net input, before any threshold.

    net = x W + b; the answer is its sign. Training by `rules.delta_rule`, W += alpha x^T (t - net), or by gradient
    descent on `losses.half_squared_error` is the same. Unlike `Perceptron` it goes on learning where the answer is
    right already, so it ends at the least-squares line also where the classes cannot be separated.

    Attributes:
      features: K, number of units.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.

    Source: Widrow & Hoff, "Adaptive Switching Circuits", 1960.
    """


class LinearRegression(_LinearUnits):
    """The line or plane with the least squared error.

    y = x W + b,  W, b = argmin sum_n |x_n W + b - t_n|^2

    `fit` finds them at once; gradient descent on `losses.squared_error` comes as near as its steps allow.

    Attributes:
      features: K, number of outputs.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.

    Source: Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805.
    """

    def fit(self, x: Array, targets: Array) -> dict:
        """The variables at the minimum; of several minima the one with the shortest W.

        Args:
          x: float [N, ...].
          targets: float [N, K].

        Returns:
          `{"params": ...}` as `init` gives it, float32.

        Raises:
          ValueError: shapes that do not fit.
          TypeError: an array is not floating point.
        """
        x, targets, means = _centred(self, x, targets)
        return _variables(self, jnp.linalg.lstsq(x, targets)[0], *means)


class RidgeRegression(_LinearUnits):
    """Least squares with a price on the squares of the weights.

    y = x W + b,  W, b = argmin sum_n |x_n W + b - t_n|^2 + l2 |W|^2,  b free of charge

    Weights of columns that say the same are shared evenly and stay small. The columns should have one scale
    (`data.standardize`), or the price falls on those with small numbers. In terms of means: a loss of
    `mean_n |x_n W + b - t_n|^2 + nn.l2_penalty(W, 2 l2 / N)` has its minimum there.

    Attributes:
      features: K, number of outputs.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.
      l2: the price, at least 0; 0 is `LinearRegression`.

    Source: Hoerl & Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", 1970, equation 2.3.
    """

    l2: float = 1.0

    def fit(self, x: Array, targets: Array) -> dict:
        """The variables at the minimum.

        Args, Returns, Raises: as for `LinearRegression.fit`; ValueError also where l2 is negative.
        """
        checks.non_negative(l2=self.l2)
        x, targets, means = _centred(self, x, targets)
        # The price joins as rows below x: the product x^T x would lose twice the digits.
        size = x.shape[1]
        rows = jnp.concatenate([x, self.l2**0.5 * jnp.eye(size, dtype=x.dtype)])
        below = jnp.concatenate([targets, jnp.zeros((size, targets.shape[1]), targets.dtype)])
        return _variables(self, jnp.linalg.lstsq(rows, below)[0], *means)


class LassoRegression(_LinearUnits):
    """Least squares with a price on the magnitudes of the weights, which leaves many at exactly 0.

    y = x W + b,  W, b = argmin 1/(2 N) sum_n |x_n W + b - t_n|^2 + l1 sum |W|,  b free of charge

    From l1 = max |x^T (t - mean t)| / N upwards all weights are 0. The columns should have one scale
    (`data.standardize`). Gradient steps with `nn.l1_penalty` come near 0 but do not reach it; `fit` does.

    Attributes:
      features: K, number of outputs, each with zeros of its own.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.
      l1: the price, at least 0, in the unit of the targets times that of the inputs.

    Source: Tibshirani, "Regression Shrinkage and Selection via the Lasso", 1996; by coordinates: Friedman, Hastie &
    Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate Descent", 2010, equation 5.
    """

    l1: float = 1.0

    def fit(self, x: Array, targets: Array, *, max_sweeps: int = 1000, tolerance: float = 1e-6) -> dict:
        """The variables at the minimum, by coordinate descent: one weight at a time, to its best value given the
        others.

        w_j <- S(r_j, l1) / (x_j^T x_j / N),  r_j = x_j^T (t - sum_{k != j} x_k w_k) / N,  S(r, l) = sign(r)
        max(|r| - l, 0)

        Args:
          x: float [N, ...].
          targets: float [N, K].
          max_sweeps: over all weights, at least 1.
          tolerance: a sweep is the last one when no weight moved its output by more than this share of the targets'
            standard deviation; at least 0.

        Returns, Raises: as for `LinearRegression.fit`; ValueError also for settings out of their range.
        """
        checks.non_negative(l1=self.l1, tolerance=tolerance)
        checks.at_least(1, max_sweeps=max_sweeps)
        x, targets, means = _centred(self, x, targets)
        rows, size = x.shape
        products = jnp.matmul(x.T, x, precision="highest") / rows
        correlations = jnp.matmul(x.T, targets, precision="highest") / rows
        scale = jnp.sqrt(jnp.diagonal(products))
        limit = tolerance * jnp.sqrt(jnp.mean(jnp.square(targets), axis=0))

        def one(j, w):
            own = products[j, j]
            rest = correlations[j] - products[j] @ w + own * w[j]
            shrunk = jnp.sign(rest) * jnp.maximum(jnp.abs(rest) - self.l1, 0)
            return w.at[j].set(jnp.where(own > 0, shrunk / jnp.where(own > 0, own, 1), 0))

        def sweep(state):
            w, _, count = state
            new = jax.lax.fori_loop(0, size, one, w)
            moved = jnp.any(scale[:, None] * jnp.abs(new - w) > limit[None])
            return new, moved, count + 1

        start = (jnp.zeros((size, targets.shape[1]), x.dtype), jnp.array(True), jnp.array(0))
        w, _, _ = jax.lax.while_loop(lambda state: state[1] & (state[2] < max_sweeps), sweep, start)
        return _variables(self, w, *means)


class LogisticRegression(_LinearUnits):
    """Log-odds that are linear in the inputs, for answers of yes or no.

    log(p / (1 - p)) = x W + b, p = P(yes | x); this returns x W + b.

    The loss is `losses.sigmoid_binary_cross_entropy`. It is convex; where the classes can be separated its minimum
    lies at infinite weights, unless an `nn.l2_penalty` holds them. K independent questions have K outputs; of
    classes that exclude each other, `SoftmaxRegression` gives the probabilities.

    Attributes:
      features: K, number of questions.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.

    Source: Cox, "The Regression Analysis of Binary Sequences", 1958.
    """


class LinearSVM(_LinearUnits):
    """The widest street between two classes.

    s = x W + b; the class is the sign of s. With `losses.hinge` on targets of -1 and 1 and an `nn.l2_penalty` on W,

    mean_n max(0, 1 - t_n s_n) + (l2 / 2) |W|^2

    the minimum is the soft-margin machine with C = 1 / (l2 N); the street is 2 / |W| wide. `losses.squared_hinge`
    makes it smooth, `losses.multiclass_hinge` on K scores tells K classes apart.

    Attributes:
      features: K, number of scores.
      use_bias: whether to add b.
      dtype: computation dtype; parameters stay float32.
      kernel_init: initial W; zeros, as the loss is convex.
      bias_init: initial b.

    Source: Cortes & Vapnik, "Support-Vector Networks", 1995, equations 8 and 9; by gradients: Shalev-Shwartz et
    al., "Pegasos", 2011, equation 1.
    """


def _centred(model: _LinearUnits, x: Array, targets: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """Inputs and targets as matrices without their means, and the means: 0 where there is no b to hold them."""
    checks.floating(x=x, targets=targets)
    checks.shape((None, model.features), targets=targets)
    checks.same_leading(1, x=x, targets=targets)
    x, targets = nn.flatten(x).astype(jnp.float32), jnp.asarray(targets, jnp.float32)
    if not model.use_bias:
        return x, targets, (jnp.zeros(x.shape[1:]), jnp.zeros(targets.shape[1:]))
    means = jnp.mean(x, axis=0), jnp.mean(targets, axis=0)
    return x - means[0][None], targets - means[1][None], means


def _variables(model: _LinearUnits, kernel: Array, x_mean: Array, target_mean: Array) -> dict:
    bias = {"bias": target_mean - jnp.matmul(x_mean, kernel, precision="highest")} if model.use_bias else {}
    return {"params": {"Dense_0": {"kernel": kernel, **bias}}}

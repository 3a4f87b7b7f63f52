"""Networks of quadratic units that are solved for, not trained: the group method of data handling.

Shapes: B batch, N rows, ... any input axes (flattened), D their product, F units of a layer, P pairs of inputs.
"""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxdl import checks, nn
from jaxdl.types import Array, Dtype

TERMS = 6


def _pairs(size: int) -> np.ndarray:
    """All pairs of inputs i < j, int32 [P, 2]."""
    return np.array(list(combinations(range(size), 2)), np.int32)


def _terms(h: Array, pairs: Array) -> Array:
    """1, u, v, u^2, u v, v^2 of each pair of columns (u, v), [B, pairs, 6]."""
    products = nn.polynomial_features(h[:, pairs])
    return jnp.concatenate([jnp.ones_like(products[..., :1]), products], axis=-1)


class PolynomialNetwork(linen.Module):
    """Layers of quadratic polynomials of two inputs each, grown one by one and pruned by rows kept aside.

    y = a_0 + a_1 u + a_2 v + a_3 u^2 + a_4 u v + a_5 v^2, (u, v) two outputs of the layer before

    `fit` tries every pair of the layer before, solves for the six coefficients by least squares on the training
    rows, keeps the units with the smallest error on the validation rows, and in the end takes the best unit of the
    layer where that error is smallest. A net of L layers is a polynomial of degree up to 2^L whose inputs were
    chosen. Coefficients have gradients, so the result can be tuned further; pairs and depth are integers, in the
    collection "structure".

        model = PolynomialNetwork(num_layers=4, width=10)
        variables = model.fit(x, targets, validation_x, validation_targets)

    Attributes:
      num_layers: L, at least 1.
      width: units that are kept of a layer; fewer where there are not as many pairs. From 3 on, three inputs are
        enough for any number of layers.
      dtype: computation dtype; parameters stay float32.

    Source: Ivakhnenko, "Polynomial Theory of Complex Systems", 1971; Farlow, "The GMDH Algorithm of Ivakhnenko",
    1981.
    """

    num_layers: int = 3
    width: int = 8
    dtype: Dtype | None = None

    def _widths(self, num_inputs: int) -> list[int]:
        """Units of each layer."""
        checks.at_least(1, num_layers=self.num_layers, width=self.width)
        checks.at_least(2, **{"number of inputs": num_inputs})
        widths, size = [], num_inputs
        for i in range(self.num_layers):
            if size < 2:
                raise ValueError(
                    f"num_layers must be at most {i} for {num_inputs} inputs and a width of {self.width}, "
                    f"as layer {i} has a single unit, got {self.num_layers}"
                )
            size = min(self.width, size * (size - 1) // 2)
            widths.append(size)
        return widths

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, ...] to values [B, 1]. `train` changes nothing.

        Raises:
          ValueError: a setting is below 1, or a layer has fewer than two inputs.
        """
        del train
        h = nn.flatten(x)
        best = []
        for i, count in enumerate(self._widths(h.shape[-1])):
            every = _pairs(h.shape[-1])

            def draw(every=every, count=count):
                return jax.random.choice(self.make_rng("params"), every, (count,), replace=False)

            pairs = self.variable("structure", f"pairs_{i}", draw).value
            coefficients = self.param(f"coefficients_{i}", nn.normal_init(1.0), (count, TERMS))
            h, coefficients = linen.dtypes.promote_dtype(h, coefficients, dtype=self.dtype)
            h = jnp.einsum("bft,ft->bf", _terms(h, pairs), coefficients)
            best.append(h[:, 0])
        depth = self.variable("structure", "depth", lambda: jnp.array(self.num_layers - 1, jnp.int32)).value
        return jnp.stack(best)[depth][:, None]

    def fit(self, x: Array, targets: Array, validation_x: Array, validation_targets: Array) -> dict:
        """The variables that the group method finds; jittable.

        Args:
          x: float [N, ...], of one scale (`data.standardize`).
          targets: float [N, 1].
          validation_x: other rows, float [N', ...].
          validation_targets: float [N', 1].

        Returns:
          `{"params": ..., "structure": ...}` as `init` gives it. In every layer the units are sorted by their
            validation
          error, the best first.

        Raises:
          ValueError: as for the call, or shapes that do not fit.
          TypeError: an array is not floating point.
        """
        checks.floating(
            x=x, targets=targets, validation_x=validation_x, validation_targets=validation_targets
        )
        h, held = (nn.flatten(a).astype(jnp.float32) for a in (x, validation_x))
        widths = self._widths(h.shape[1])
        checks.shape((None, h.shape[1]), validation_x=held)
        checks.shape((h.shape[0], 1), targets=targets)
        checks.shape((held.shape[0], 1), validation_targets=validation_targets)
        targets = jnp.asarray(targets, jnp.float32)
        params, structure, errors = {}, {}, []
        for i, count in enumerate(widths):
            every = jnp.asarray(_pairs(h.shape[1]))
            solve = jax.vmap(lambda terms: jnp.linalg.lstsq(terms, targets[:, 0])[0], in_axes=1)
            coefficients = solve(_terms(h, every))
            outputs = jnp.einsum("npt,pt->np", _terms(held, every), coefficients)
            error = jnp.mean(jnp.square(outputs - jnp.asarray(validation_targets, jnp.float32)), axis=0)
            # A pair whose solution overflows is the worst, not the best.
            error = jnp.where(jnp.isfinite(error), error, jnp.inf)
            kept = jnp.argsort(error)[:count]
            errors.append(error[kept[0]])
            params[f"coefficients_{i}"], structure[f"pairs_{i}"] = coefficients[kept], every[kept]
            h, held = (
                jnp.einsum("nft,ft->nf", _terms(a, every[kept]), coefficients[kept]) for a in (h, held)
            )
        structure["depth"] = jnp.argmin(jnp.stack(errors)).astype(jnp.int32)
        return {"params": params, "structure": structure}

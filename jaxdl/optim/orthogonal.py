"""Muon: momentum made orthogonal, for parameters that are matrices."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from jaxdl import checks
from jaxdl.optim.accumulators import (
    accumulator,
    cast_like,
    look_ahead,
    moving_average,
    next_count,
    weight_sum,
    widened,
)
from jaxdl.optim.adaptive import adamw
from jaxdl.optim.decay import add_decayed_weights
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Dtype, Params

Coefficients = tuple[float, float, float]
Preconditioning = Literal["frobenius", "spectral", "aol", "schatten"]
# One of MuonDimensionNumbers per matrix parameter, None for the rest; or a function from params to that tree.
DimensionNumbers = MuonDimensionNumbers | Params | Callable[[Params], Params]

STANDARD: Coefficients = (3.4445, -4.7750, 2.0315)
DION: tuple[Coefficients, ...] = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
MATRIX = MuonDimensionNumbers()  # rows are axis 0, columns axis 1


def _is_spec(node: Any) -> bool:
    return isinstance(node, MuonDimensionNumbers)


def _axes(axes: int | Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(axis % rank for axis in ((axes,) if isinstance(axes, int) else axes))


def _rows_and_columns(x: Array, spec: MuonDimensionNumbers) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if x.ndim < 2:
        raise ValueError(f"a parameter of Muon must have rank 2 or more, got shape {x.shape}")
    rows, columns = _axes(spec.reduction_axis, x.ndim), _axes(spec.output_axis, x.ndim)
    if set(rows) & set(columns):
        raise ValueError(f"reduction_axis and output_axis must not share an axis, got {rows} and {columns}")
    return rows, columns


def _iterations(coefficients: Any, steps: int) -> tuple[Coefficients, ...]:
    """The coefficients of every Newton-Schulz step."""
    if isinstance(coefficients, str):
        checks.one_of(("standard", "dion"), ns_coeffs=coefficients)
        coefficients = STANDARD if coefficients == "standard" else DION
    checks.at_least(1, ns_steps=steps)
    nested = all(isinstance(row, Sequence) for row in coefficients)
    rows = tuple(tuple(row) for row in coefficients) if nested else (tuple(coefficients),) * steps
    if not rows or any(len(row) != 3 for row in rows):
        raise ValueError(f"ns_coeffs must be 3 numbers, or 3 for each step, got {coefficients}")
    return rows


def _orthogonalized(
    x: Array, iterations: Sequence[Coefficients], preconditioning: Preconditioning, eps: Any
) -> Array:
    """Newton-Schulz on one matrix [m, n]: singular values near 1, singular vectors kept."""
    if x.shape[0] > x.shape[1]:
        return _orthogonalized(x.T, iterations, preconditioning, eps).T
    gram = None
    if preconditioning == "frobenius":
        x = x / (jnp.linalg.norm(x) + eps)
    elif preconditioning == "spectral":
        x = x / (jnp.linalg.norm(x, ord=2) + eps)
    else:
        gram = x @ x.T
        if preconditioning == "aol":
            scale = jax.lax.rsqrt(jnp.maximum(jnp.abs(gram).sum(axis=-1), eps))[:, None]
            x, gram = x * scale, gram * scale * scale.T
        else:
            scale = jax.lax.rsqrt(jnp.maximum(jnp.linalg.norm(gram), eps))
            x, gram = x * scale, gram * scale**2
    for a, b, c in iterations:
        gram = x @ x.T if gram is None else gram
        x, gram = a * x + (b * gram + c * (gram @ gram)) @ x, None
    return x


def _orthogonalize(x: Array, spec: MuonDimensionNumbers, *settings: Any) -> Array:
    """Each matrix [rows, columns] that the axes left over number, by itself."""
    rows, columns = _rows_and_columns(x, spec)
    order = (*(axis for axis in range(x.ndim) if axis not in rows + columns), *rows, *columns)
    moved = x.transpose(order)
    batch = moved.ndim - len(rows) - len(columns)
    cuts = (0, batch, batch + len(rows), moved.ndim)
    matrices = moved.reshape([math.prod(moved.shape[i:j]) for i, j in itertools.pairwise(cuts)])
    result = jax.vmap(lambda matrix: _orthogonalized(matrix, *settings))(matrices)
    return result.reshape(moved.shape).transpose([order.index(axis) for axis in range(x.ndim)])


def _with_specs(function: Callable[..., Array], tree: Params, specs: DimensionNumbers | None) -> Params:
    """`function(leaf, spec)` on every leaf."""
    specs = specs(tree) if callable(specs) else specs
    if specs is None:
        specs = MATRIX
    if _is_spec(specs):
        return jax.tree.map(lambda x: function(x, specs), tree)
    return jax.tree.map(
        lambda spec, branch: jax.tree.map(lambda x: function(x, spec), branch), specs, tree, is_leaf=_is_spec
    )


class ScaleByMuonState(NamedTuple):
    count: Array  # int32[]
    mu: Params  # m_t, like params, `mu_dtype`, or float32 or wider


def scale_by_muon(
    ns_coeffs: Coefficients | tuple[Coefficients, ...] | str = STANDARD,
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    mu_dtype: Dtype | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    weight_dimension_numbers: DimensionNumbers | None = None,
) -> optax.GradientTransformation:
    """Replaces every matrix of momentum by one with its singular vectors and singular values near 1.

    m_t = beta m_{t-1} + (1 - beta) g_t
    X_0 = n_t / (|n_t|_F + eps),  n_t = beta m_t / (1 - beta^{t+1}) + (1 - beta) g_t / (1 - beta^t)
    X_k = a X_{k-1} + (b A + c A^2) X_{k-1},  A = X_{k-1} X_{k-1}^T,  k = 1 .. ns_steps
    u_t = X_ns_steps

    A step maps a singular value s to a s + b s^3 + c s^5. The standard coefficients do not converge to 1: they
    bring every s that is not tiny into about 0.7 to 1.2 in five steps, in few and fast products.

    Args:
      ns_coeffs: (a, b, c), or one of them for each step, "standard" or "dion".
      ns_steps: >= 1; without effect where every step has its own coefficients.
      beta: decay of the momentum, in [0, 1).
      eps: >= 0.
      mu_dtype: of m; None takes float32 or the parameter's own dtype, whichever is wider.
      nesterov: False takes n_t = m_t / (1 - beta^t).
      adaptive: multiply by the dual norm of the momentum, sum(n_t u_t).
      preconditioning: what scales n_t to where the iteration converges: "frobenius", "spectral" (largest singular
        value, by a decomposition), "aol" (row sums of |A|), "schatten" (Schatten-4 norm).
      weight_dimension_numbers: which axes of each parameter are rows and which columns, as
        `optax.contrib.MuonDimensionNumbers`, one for all, a pytree of them, or a function from params to one; the
        axes left over number matrices. None takes every parameter as a matrix [rows, columns].

    Raises:
      ValueError: a setting is out of its range; at the call, a parameter is not a matrix and no axes are named.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
    kellerjordan.github.io/posts/muon; adaptive: Bernstein & Newhouse, "Old optimizer, new norm", 2024,
    arXiv:2409.20325; "dion": Ahn et al. 2025, arXiv:2504.05295; "aol": Boissin et al. 2025, arXiv:2512.04632;
    "schatten": Grishina et al. 2025, arXiv:2506.10935.
    Differs from PyTorch, which iterates in bfloat16 and corrects no bias: without Nesterov momentum the direction
    is the same up to that rounding, with it g_t has another weight at first.
    """
    checks.decay(beta=beta)
    checks.non_negative(eps=eps)
    checks.one_of(("frobenius", "spectral", "aol", "schatten"), preconditioning=preconditioning)
    iterations = _iterations(ns_coeffs, ns_steps)

    def init_fn(params):
        return ScaleByMuonState(jnp.zeros((), jnp.int32), accumulator(params, dtype=mu_dtype))

    def update_fn(updates, state, params=None):
        del params
        count = next_count(state.count)
        mu = moving_average(beta, state.mu, updates)
        if nesterov:
            mean = look_ahead(beta, mu, updates, count)
        else:
            weight = weight_sum(beta, count)
            mean = jax.tree.map(lambda m: m / weight, mu)

        def direction(m, spec):
            u = _orthogonalize(widened(m), spec, iterations, preconditioning, eps)
            return jnp.sum(m * u) * u if adaptive else u

        directions = _with_specs(direction, mean, weight_dimension_numbers)
        return cast_like(directions, updates), ScaleByMuonState(count, cast_like(mu, state.mu))

    return optax.GradientTransformation(init_fn, update_fn)


def _scale_by_shape(
    specs: DimensionNumbers | None, consistent_rms: float | None
) -> optax.GradientTransformation:
    def scaled(u, spec):
        rows, columns = (math.prod(u.shape[axis] for axis in axes) for axes in _rows_and_columns(u, spec))
        if consistent_rms is None:
            return math.sqrt(max(1, columns / max(rows, 1))) * u
        return (math.sqrt(max(rows, columns)) * consistent_rms * u).astype(u.dtype)

    return optax.stateless(lambda updates, params: _with_specs(scaled, updates, specs))


def muon(
    learning_rate: optax.ScalarOrSchedule,
    ns_coeffs: Coefficients | tuple[Coefficients, ...] | str = STANDARD,
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: Dtype | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_eps_root: float = 0.0,
    adam_weight_decay: float = 0.0,
    adam_learning_rate: optax.ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: DimensionNumbers | None = None,
    consistent_rms: float | None = None,
) -> optax.GradientTransformation:
    """Momentum orthogonalized by Newton-Schulz for matrices, Adam for everything else.

    W_{t+1} = W_t - eta (sqrt(max(1, columns / rows)) u_t + weight_decay W_t),  u_t as in `scale_by_muon`

    The matrices are the parameters of rank 2, [rows, columns] = [in, out]. A table of embeddings and a last layer
    have rank 2 too, and the source leaves both to Adam: name the hidden matrices with
    `muon_weight_dimension_numbers`, which also takes convolutions in.

    Args:
      learning_rate: eta >= 0, number or schedule.
      ns_coeffs: of the iteration; see `scale_by_muon`.
      ns_steps: >= 1.
      beta: decay of the momentum, in [0, 1).
      eps: >= 0; also Adam's.
      weight_decay: >= 0, decoupled, of the matrices.
      weight_decay_mask: pytree of bool like params, or a function from params to one; None is all matrices.
      mu_dtype: of both first moments; None takes float32 or the parameter's own dtype, whichever is wider.
      nesterov: for both.
      adaptive: multiply by the dual norm of the momentum.
      preconditioning: see `scale_by_muon`.
      adam_b1: in [0, 1).
      adam_b2: in [0, 1).
      adam_eps_root: >= 0.
      adam_weight_decay: >= 0, decoupled.
      adam_learning_rate: >= 0, number or schedule; None takes `learning_rate`.
      muon_weight_dimension_numbers: pytree of `optax.contrib.MuonDimensionNumbers` like params or a prefix of it,
        or a function from params to one; None where Adam is meant.
      consistent_rms: instead of sqrt(max(1, columns / rows)), take consistent_rms sqrt(max(rows, columns)); at 0.2
        the steps have the RMS of Adam's.

    Raises:
      ValueError: a setting is out of its range.

    Source: Jordan et al. 2024; consistent_rms: Liu et al., "Muon is scalable for LLM training", 2025, equation 4,
    arXiv:2502.16982. Metrics of a step report two learning rates, Adam's first.
    """
    checks.decay(adam_b1=adam_b1, adam_b2=adam_b2)
    if consistent_rms is not None:
        checks.positive(consistent_rms=consistent_rms)
    specs = muon_weight_dimension_numbers
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate

    def tree_of_specs(params):
        return specs(params) if callable(specs) else specs

    def labels(params):
        if specs is None:
            return jax.tree.map(lambda x: "muon" if x.ndim == 2 else "adam", params)
        return jax.tree.map(
            lambda spec, branch: jax.tree.map(lambda _: "adam" if spec is None else "muon", branch),
            tree_of_specs(params),
            params,
            is_leaf=lambda node: node is None or _is_spec(node),
        )

    def specs_of_matrices(params):
        """Specs where a matrix stands; its tree has holes where Adam's parameters were."""
        return jax.tree.map(
            lambda spec, branch: jax.tree.map(lambda _: spec, branch),
            tree_of_specs(params),
            params,
            is_leaf=lambda node: node is None or _is_spec(node),
        )

    inner_specs = None if specs is None else specs_of_matrices
    return optax.partition(
        {
            "muon": optax.chain(
                scale_by_muon(
                    ns_coeffs,
                    ns_steps,
                    beta,
                    eps,
                    mu_dtype,
                    nesterov=nesterov,
                    adaptive=adaptive,
                    preconditioning=preconditioning,
                    weight_dimension_numbers=inner_specs,
                ),
                _scale_by_shape(inner_specs, consistent_rms),
                add_decayed_weights(weight_decay, weight_decay_mask),
                scale_by_learning_rate(learning_rate),
            ),
            "adam": adamw(
                rate,
                adam_b1,
                adam_b2,
                eps,
                adam_eps_root,
                mu_dtype,
                adam_weight_decay,
                nesterov=nesterov,
            ),
        },
        labels,
    )

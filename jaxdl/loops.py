"""Loops and branches that keep convolutions fast on CPU.

XLA's CPU backend runs a convolution with its fast kernels when its operands are laid out [N, spatial, C] and
[spatial, I, O]. It brings other layouts into that order, but only in the entry computation (the pass
`ConvCanonicalization`), never inside a loop or a branch. There every gradient of a convolution, and a forward
convolution of another layout, runs 5 to 40 times slower (jax-ml/jax#12868). So on CPU `scan` and `cond` do
inside their bodies what the compiler omits: they transpose, convolve in the fast order, and transpose back.
Values and derivatives are those of the original. Elsewhere they are `jax.lax.scan` and `jax.lax.cond`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend import core as jex_core

_LOOPS_AND_BRANCHES = ("scan", "while", "cond")


def _inner_jaxprs(equation) -> Iterator[Any]:
    for parameter in equation.params.values():
        for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
            if isinstance(inner, jex_core.ClosedJaxpr):
                yield inner.jaxpr
            elif isinstance(inner, jex_core.Jaxpr):
                yield inner


def _equations(jaxpr, skip: Sequence[str] = ()) -> Iterator[Any]:
    """Every equation of a jaxpr and of the jaxprs inside it, except inside the primitives named in `skip`."""
    for equation in jaxpr.eqns:
        yield equation
        if equation.primitive.name not in skip:
            for inner in _inner_jaxprs(equation):
                yield from _equations(inner, skip)


def _is_convolution(equation) -> bool:
    return equation.primitive.name == "conv_general_dilated"


def _is_slow(equation) -> bool:
    """Whether it is a convolution that XLA's CPU backend would have to transpose to run it fast."""
    if not _is_convolution(equation):
        return False
    numbers = equation.params["dimension_numbers"]
    axes = tuple(range(len(numbers.lhs_spec)))
    *spatial, features = axes[1:]
    fast = (
        numbers.lhs_spec == (0, features, *spatial)
        and numbers.out_spec == (0, features, *spatial)
        and numbers.rhs_spec == (axes[-1], axes[-2], *axes[:-2])
        and equation.params["batch_group_count"] == 1
    )
    return not fast


def _fast_convolution(lhs, rhs, params: dict[str, Any]):
    """The same convolution in the order [N, spatial, C] x [spatial, I, O] -> [N, spatial, O].

    g batch groups of n examples with f features are the same as g feature groups of n examples: the gradient
    of a grouped convolution's kernel comes as the former.
    """
    numbers, groups = params["dimension_numbers"], params["batch_group_count"]
    (n, c, *lhs_spatial), (o, i, *rhs_spatial), (out_n, out_c, *out_spatial) = (
        numbers.lhs_spec,
        numbers.rhs_spec,
        numbers.out_spec,
    )
    lhs = jax.lax.transpose(lhs, (n, *lhs_spatial, c))
    rhs = jax.lax.transpose(rhs, (*rhs_spatial, i, o))
    if groups > 1:
        examples, *space, features = lhs.shape
        lhs = lhs.reshape(groups, examples // groups, *space, features)
        lhs = jax.lax.transpose(lhs, (*range(1, lhs.ndim - 1), 0, lhs.ndim - 1))
        lhs = lhs.reshape(examples // groups, *space, groups * features)
    rank = lhs.ndim
    spec = (0, rank - 1, *range(1, rank - 1))
    params = params | {
        "dimension_numbers": jax.lax.ConvDimensionNumbers(spec, (rank - 1, rank - 2, *range(rank - 2)), spec),
        "batch_group_count": 1,
        "feature_group_count": params["feature_group_count"] * groups,
    }
    y = jax.lax.conv_general_dilated_p.bind(lhs, rhs, **params)
    order = (out_n, *out_spatial, out_c)
    return jax.lax.transpose(y, tuple(order.index(axis) for axis in range(rank)))


def _evaluate(jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluates a jaxpr with fast convolutions, also those inside `jax.jit`."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args]))

    def read(atom):
        return atom.val if isinstance(atom, jex_core.Literal) else env[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        name = equation.primitive.name
        if _is_slow(equation):
            lhs, rhs = inputs
            outputs = [_fast_convolution(lhs, rhs, equation.params)]
        elif name in ("jit", "pjit") and any(map(_is_slow, _equations(equation.params["jaxpr"].jaxpr))):
            inner = equation.params["jaxpr"]
            outputs = _evaluate(inner.jaxpr, inner.consts, inputs)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            with equation.ctx.manager:
                outputs = equation.primitive.bind(*functions, *inputs, **params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        env.update(zip(equation.outvars, outputs))
    return [read(atom) for atom in jaxpr.outvars]


def _with_fast_convolutions(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, traced once more without its slow convolutions where it has some."""

    def fast(*args):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        if any(map(_is_slow, _equations(closed.jaxpr))):
            outputs = _evaluate(closed.jaxpr, closed.consts, leaves)
        else:
            outputs = jex_core.jaxpr_as_fun(closed)(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return fast


def _compiles_for_cpu() -> bool:
    compiles = not jax.config.jax_disable_jit  # pyrefly: ignore[missing-attribute]
    return compiles and jax.default_backend() == "cpu"


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    differentiated: bool = False,
) -> tuple[Any, Any]:
    """`jax.lax.scan(body, init, xs, length)`, with fast convolutions on CPU.

    A convolution that cannot be reached (inside `jax.checkpoint`, or in a gradient that is not yet taken)
    makes the loop unroll there: as fast, but compile time grows with the length, so keep such loops short.

    Args:
      body: `(carry, x) -> (carry, y)`.
      init: first carry.
      xs: pytree with leaves `[length, ...]`, or None.
      length: number of iterations; taken from `xs` when None.
      differentiated: the caller differentiates through this loop, so any convolution in the body will have a
        gradient in the loop.

    Returns:
      The last carry and the stacked `y`.
    """
    if not _compiles_for_cpu():
        return jax.lax.scan(body, init, xs, length)
    fast = _with_fast_convolutions(body)
    # JAX keeps the traced body, so the second scan below does not trace it again.
    traced = jax.make_jaxpr(lambda init, xs: jax.lax.scan(fast, init, xs, length))(init, xs)
    bodies = [loop.params["jaxpr"].jaxpr for loop in traced.jaxpr.eqns if loop.primitive.name == "scan"]
    remains = _is_convolution if differentiated else _is_slow
    # Unrolling this loop does not bring out what sits in an inner one.
    found = (
        remains(equation) for inner in bodies for equation in _equations(inner, skip=_LOOPS_AND_BRANCHES)
    )
    return jax.lax.scan(fast, init, xs, length, unroll=any(found) or 1)


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """`jax.lax.cond(pred, true_fun, false_fun, *operands)`, with fast convolutions on CPU.

    Args:
      pred: bool[].
      true_fun: called on the operands where `pred` holds.
      false_fun: called on them otherwise; returns the same shapes and dtypes.
      operands: pytrees of arrays.
    """
    if _compiles_for_cpu():
        true_fun, false_fun = _with_fast_convolutions(true_fun), _with_fast_convolutions(false_fun)
    return jax.lax.cond(pred, true_fun, false_fun, *operands)

"""How far along a direction: the last link of a chain, where a step length is searched and not set.

Symbols: theta parameters, u the update that comes in, a descent direction with its sign already flipped,
phi(a) = L(theta + a u), so phi'(0) = <grad, u>; c1 and c2 the constants of sufficient decrease and curvature.

Both searches need the loss: `update(updates, state, params, value=, grad=, value_fn=)`, as `optim.minimize`,
`train.make_update` and Optax's own loops call it. On minibatches `value_fn` is the loss of the same batch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import checks
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.vectors import inner, length, moved
from jaxdl.types import Array


class LineSearchState(NamedTuple):
    learning_rate: Array  # float[], step length of the last update; 0 where no step lowered the loss
    value: Array  # float[], loss where the last search began
    evaluations: Array  # int32[], of the loss in the last search
    found: Array  # bool[], whether the last step meets the conditions


def _initial_state(params: Any) -> LineSearchState:
    del params
    one = jnp.ones((), jnp.result_type(float))
    return LineSearchState(one, jnp.full_like(one, jnp.inf), jnp.zeros((), jnp.int32), jnp.ones((), bool))


def needs_loss(params: Any, **given: Any) -> None:
    """Raises ValueError unless params and all that is given to `update` beside it are there."""
    missing = [name for name, x in {"params": params, **given}.items() if x is None]
    if missing:
        raise ValueError(
            f"update must be called as update(updates, state, params, value=, grad=, value_fn=); "
            f"{', '.join(missing)} missing"
        )


def descend_along(
    direction: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule | None,
    linesearch: optax.GradientTransformation | None,
) -> optax.GradientTransformationExtraArgs:
    """The chain of every method here: a direction, its sign, the length of the step.

    Args:
      direction: preconditions the gradient.
      learning_rate: number, schedule, or None for 1; a line search multiplies it.
      linesearch: last link, or None for steps of the learning rate.
    """
    sign = optax.scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    links = [direction, sign] if linesearch is None else [direction, sign, linesearch]
    return optax.with_extra_args_support(optax.chain(*links))


def _scaled(updates: Any, rate: Array) -> Any:
    # Where no step was found, an infinite direction must not become 0 * inf.
    return jax.tree.map(lambda u: jnp.where(rate == 0, 0, rate * u).astype(u.dtype), updates)


def backtracking_line_search(
    max_backtracking_steps: int = 30,
    slope_rtol: float = 1e-4,
    decrease_factor: float = 0.8,
    increase_factor: float = 1.5,
    max_learning_rate: float = 1.0,
    atol: float = 0.0,
    rtol: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Shortens the step until the loss falls by a share of what its slope promises.

    a_0 = min(increase_factor a_last, max_learning_rate),  a_{j+1} = decrease_factor a_j
    until phi(a_j) <= (1 + rtol) phi(0) + c1 a_j min(phi'(0), 0) + atol

    It evaluates the loss alone, so it is the cheaper of the two: behind gradient descent, Adam or Newton.
    Quasi-Newton methods and conjugate gradients need the curvature condition of `wolfe_line_search`.

        optax.chain(optim.gradient_descent(1.0), optim.backtracking_line_search())

    Args:
      max_backtracking_steps: >= 0, times that the first step may be shortened.
      slope_rtol: c1 in (0, 1).
      decrease_factor: in (0, 1).
      increase_factor: >= 1, by which the last step may grow; `math.inf` starts at the largest each time.
      max_learning_rate: > 0, largest multiple of the update.
      atol: >= 0, in units of the loss.
      rtol: >= 0, share of the loss; a few times the rounding of its dtype ends a search in noise.

    Returns:
      A transformation whose state has `learning_rate`, the step length, float[], and `found`, bool[]. Where no
      step meets the condition the update is 0, and the next search starts at `max_learning_rate`.

    Raises:
      ValueError: a setting is out of its range; `update` lacks params, value, grad or value_fn.

    Source: Armijo, "Minimization of functions having Lipschitz continuous first partial derivatives", 1966;
    Nocedal & Wright, "Numerical optimization", 2006, algorithm 3.1.
    Differs from `optax.scale_by_backtracking_linesearch` where no step meets the condition, there the shortest is
    taken, and where the update climbs, there the loss may too.
    """
    checks.at_least(0, max_backtracking_steps=max_backtracking_steps)
    checks.positive(
        slope_rtol=slope_rtol, decrease_factor=decrease_factor, max_learning_rate=max_learning_rate
    )
    checks.decay(slope_rtol=slope_rtol, decrease_factor=decrease_factor)
    checks.at_least(1, increase_factor=increase_factor)
    checks.non_negative(atol=atol, rtol=rtol)

    def update_fn(
        updates,
        state,
        params: Any = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        **extra_args,
    ):
        del extra_args
        needs_loss(params, value=value, grad=grad, value_fn=value_fn)
        slope = jnp.minimum(inner(grad, updates), 0)

        def falls(rate, trial):
            return trial <= (1 + rtol) * value + slope_rtol * rate * slope + atol

        def body(carry):
            rate, _, count = carry
            rate = jnp.where(count == 0, rate, decrease_factor * rate)
            return rate, falls(rate, value_fn(moved(params, rate, updates))), count + 1

        def unfinished(carry):
            return ~carry[1] & (carry[2] <= max_backtracking_steps)

        last = jnp.where(state.learning_rate == 0, max_learning_rate, increase_factor * state.learning_rate)
        first = jnp.minimum(last, max_learning_rate).astype(state.learning_rate.dtype)
        start = (first, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
        rate, found, count = jax.lax.while_loop(unfinished, body, start)
        rate = jnp.where(found, rate, 0)
        return _scaled(updates, rate), LineSearchState(rate, jnp.asarray(value, rate.dtype), count, found)

    return optax.GradientTransformationExtraArgs(_initial_state, update_fn)


class _Point(NamedTuple):
    at: Array  # step length, float[]
    value: Array  # phi there
    slope: Array  # phi' there


def _quadratic_minimum(low: _Point, high: _Point) -> Array:
    """Minimum of the parabola through both values with the slope at `low`; not finite where it has none."""
    gap = high.at - low.at
    curvature = (high.value - low.value - low.slope * gap) / gap**2
    return jnp.where(curvature > 0, low.at - low.slope / (2 * curvature), jnp.nan)


def _cubic_minimum(low: _Point, high: _Point, third: _Point) -> Array:
    """Minimum of the cubic through three values with the slope at `low`; not finite where it has none."""
    b, c = high.at - low.at, third.at - low.at
    rest_b, rest_c = high.value - low.value - low.slope * b, third.value - low.value - low.slope * c
    scale = (b * c) ** 2 * (b - c)
    cube = (c**2 * rest_b - b**2 * rest_c) / scale
    square = (b**3 * rest_c - c**3 * rest_b) / scale
    return low.at + (jnp.sqrt(square**2 - 3 * cube * low.slope) - square) / (3 * cube)


def _between(low: _Point, high: _Point, third: _Point, first: Array) -> Array:
    """The next step length inside a bracket: cubic, else quadratic, else the middle.

    A minimum closer to an end than a fifth (cubic) or a tenth (quadratic) of the bracket is not taken: it
    would hardly shrink it.
    """
    gap = jnp.abs(high.at - low.at)
    left, right = jnp.minimum(low.at, high.at), jnp.maximum(low.at, high.at)

    def inside(x, margin):
        return (x >= left + margin * gap) & (x <= right - margin * gap)  # False for NaN

    cubic, quadratic = _cubic_minimum(low, high, third), _quadratic_minimum(low, high)
    fallback = jnp.where(inside(quadratic, 0.1), quadratic, (low.at + high.at) / 2)
    return jnp.where(inside(cubic, 0.2) & ~first, cubic, fallback)


class _Search(NamedTuple):
    """One search under way.

    Until a minimum is bracketed, `low` is the last point and `at` grows; afterwards a step that meets the
    conditions lies between `low`, the lowest so far, and `high`.
    """

    at: Array  # float[], next step length to try
    low: _Point
    high: _Point
    third: _Point  # the end that was last replaced
    bracketed: Array  # bool[]
    evaluations: Array  # int32[]
    found: Array  # bool[]
    done: Array  # bool[]


def _choose(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def wolfe_line_search(
    max_linesearch_steps: int = 20,
    max_learning_rate: float | None = None,
    increase_factor: float = 2.0,
    slope_rtol: float = 1e-4,
    curv_rtol: float = 0.9,
    approx_dec_rtol: float = 1e-6,
    initial_guess_strategy: str = "one",
) -> optax.GradientTransformationExtraArgs:
    """Finds a step after which the loss is lower and its slope along the direction flatter.

    phi(a) <= phi(0) + c1 a phi'(0)  and  |phi'(a)| <= c2 |phi'(0)|

    The step grows until a minimum lies behind it, then cubic and quadratic interpolation close in on one.
    The two conditions together make <grad_{t+1} - grad_t, theta_{t+1} - theta_t> positive, which `bfgs`,
    `lbfgs` and `conjugate_gradient` live on. Every trial costs a gradient; `backtracking_line_search`, which
    asks for the first condition alone, costs only the loss.

    Within rounding of the minimum the values no longer tell a decrease; there
    phi(a) <= phi(0) + approx_dec_rtol |phi(0)| with phi'(a) <= (2 c1 - 1) phi'(0) counts as one.

    Args:
      max_linesearch_steps: >= 1, evaluations of the gradient per search.
      max_learning_rate: > 0, largest multiple of the update, or None.
      increase_factor: > 1, growth of the step until a minimum is bracketed.
      slope_rtol: c1, 0 < c1 < c2.
      curv_rtol: c2 < 1; 0.9 behind Newton-like directions, 0.4 and less behind conjugate gradients.
      approx_dec_rtol: >= 0; 0 turns the second form of decrease off.
      initial_guess_strategy: first trial. "one": 1, for directions that know their length; "keep": the last
        step length; "interpolate": min(1, 2.02 (L_t - L_{t-1}) / phi'(0)), for those that do not.

    Returns:
      A transformation whose state has `learning_rate`, the step length, float[], and `found`, bool[]. Where no
      step meets both conditions it takes the longest tried one with sufficient decrease, or none.

    Raises:
      ValueError: a setting is out of its range; `update` lacks params, value, grad or value_fn.

    Source: Wolfe, "Convergence conditions for ascent methods", 1969; Nocedal & Wright, "Numerical
    optimization", 2006, algorithms 3.5 and 3.6, equation 3.60; the approximate form: Hager & Zhang, "A new
    conjugate gradient method with guaranteed descent and an efficient line search", 2005.
    Differs from `optax.scale_by_zoom_linesearch` in the default first trial, there the last step length, and in
    that it keeps no gradient for the next iteration; from SciPy's `line_search` in leaving the ends of a bracket
    alone whichever of them is the lower.
    """
    checks.at_least(1, max_linesearch_steps=max_linesearch_steps)
    checks.positive(slope_rtol=slope_rtol, curv_rtol=curv_rtol)
    checks.between(slope_rtol, 1, curv_rtol=curv_rtol)
    checks.non_negative(approx_dec_rtol=approx_dec_rtol)
    if not increase_factor > 1:
        raise ValueError(f"increase_factor must be above 1, got {increase_factor}")
    if max_learning_rate is not None:
        checks.positive(max_learning_rate=max_learning_rate)
    checks.one_of(("one", "keep", "interpolate"), initial_guess_strategy=initial_guess_strategy)
    longest = float("inf") if max_learning_rate is None else max_learning_rate

    def first_trial(state, value, grad, slope):
        one = jnp.ones_like(state.learning_rate)
        if initial_guess_strategy == "one":
            trial = one
        elif initial_guess_strategy == "keep":
            trial = jnp.where(state.learning_rate == 0, one, state.learning_rate)
        else:
            # Before there is a last value, as if the step before had had half the gradient's length.
            fall = jnp.where(jnp.isinf(state.value), -length(grad) / 2, value - state.value)
            trial = jnp.minimum(one, 2.02 * fall / slope)
            trial = jnp.where(trial > 0, trial, one)
        return jnp.minimum(trial, longest).astype(one.dtype)

    def update_fn(
        updates,
        state,
        params: Any = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        **extra_args,
    ):
        del extra_args
        needs_loss(params, value=value, grad=grad, value_fn=value_fn)
        dtype = state.learning_rate.dtype
        value = jnp.asarray(value, dtype)
        start = _Point(jnp.zeros((), dtype), value, inner(grad, updates).astype(dtype))

        def evaluate(at):
            trial, gradient = jax.value_and_grad(value_fn)(moved(params, at, updates))
            trial = jnp.where(jnp.isnan(trial), jnp.inf, trial)
            return _Point(at, trial.astype(dtype), inner(gradient, updates).astype(dtype))

        def body(search: _Search) -> _Search:
            new, low, high = evaluate(search.at), search.low, search.high
            falls = new.value <= value + slope_rtol * new.at * start.slope
            nearly = (new.value <= value + approx_dec_rtol * jnp.abs(value)) & (
                new.slope <= (2 * slope_rtol - 1) * start.slope
            )
            flat = jnp.abs(new.slope) <= -curv_rtol * start.slope
            first = search.evaluations == 0
            too_far = ~(falls | nearly) | ((new.value >= low.value) & ~first)
            found = flat & (~too_far | nearly)
            # The minimum is on the side of `low` from which the new point was reached.
            turned = ~too_far & jnp.where(
                search.bracketed, new.slope * (high.at - low.at) >= 0, new.slope >= 0
            )
            at_limit = ~search.bracketed & ~too_far & ~turned & (new.at >= longest)
            bracketed = search.bracketed | too_far | turned
            next_low = _choose(too_far, low, new)
            next_high = _choose(too_far, new, _choose(turned, low, high))
            third = _choose(too_far | turned, high, low)
            # Where the bracket is new there is no third point yet to lay a cubic through.
            inside = _between(next_low, next_high, third, ~search.bracketed)
            at = jnp.where(bracketed, inside, jnp.minimum(increase_factor * new.at, longest))
            at = jnp.where(found, new.at, at)
            return _Search(
                at=at.astype(dtype),
                low=next_low,
                high=next_high,
                third=third,
                bracketed=bracketed,
                evaluations=search.evaluations + 1,
                found=found,
                done=found | at_limit,
            )

        def unfinished(search: _Search):
            return ~search.done & (search.evaluations < max_linesearch_steps)

        false = jnp.zeros((), bool)
        search = _Search(
            first_trial(state, value, grad, start.slope),
            start,
            start,
            start,
            false,
            jnp.zeros((), jnp.int32),
            false,
            ~(start.slope < 0),  # not a direction of descent: no step
        )
        search = jax.lax.while_loop(unfinished, body, search)
        rate = jnp.where(search.found, search.at, search.low.at)
        return _scaled(updates, rate), LineSearchState(rate, value, search.evaluations, search.found)

    return optax.GradientTransformationExtraArgs(_initial_state, update_fn)

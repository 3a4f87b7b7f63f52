"""Parameters by their path, such as "encoder/Dense_0/kernel": masks and values for groups of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from jaxdl import checks
from jaxdl.types import Params

Pattern = (
    str | Callable[[str], Any]
)  # regular expression, or function from path to what is true where it matches


def path_of(path: tuple[Any, ...]) -> str:
    """The keys of a leaf, joined by slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def matcher(pattern: Pattern) -> Callable[[str], Any]:
    """A function from path to what is true where the pattern matches anywhere in it."""
    return pattern if callable(pattern) else re.compile(pattern).search


def check_matches(pattern: Pattern, params: Params) -> None:
    """Raises ValueError unless the pattern matches a parameter: one that does not is a typing error."""
    matches = matcher(pattern)
    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    if not any(matches(path) for path in paths):
        raise ValueError(f"pattern must match at least one parameter, got {pattern!r} and {', '.join(paths)}")


def check_floating(params: Params) -> None:
    """Raises TypeError, with its path, unless every parameter is real floating point."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        checks.floating(**{path_of(path) or "params": leaf})


def check_not_empty(params: Params) -> None:
    """Raises ValueError unless there is a number to be moved."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = {path_of(path) or "params": np.shape(leaf) for path, leaf in leaves}
    if all(0 in shape for shape in shapes.values()):
        raise ValueError(f"params must hold at least one number, got {shapes or params}")


def path_mask(pattern: Pattern) -> Callable[[Params], Params]:
    """Selects parameters by path, wherever a mask is asked for.

    mask_i = whether the pattern matches the path of parameter i

        optim.adamw(1e-3, mask=optim.path_mask("kernel$"))     # biases and norm scales do not decay
        optax.masked(optim.clip_by_norm(1.0), optim.path_mask("^decoder/"))

    Args:
      pattern: regular expression, searched for anywhere in the path (`re.search`), or a function from path to
        bool.

    Returns:
      A function from a pytree to one of bool of its structure. It raises ValueError where nothing matches.

    Raises:
      re.error: the pattern is not a regular expression.
    """
    matches = matcher(pattern)

    def mask(params: Params) -> Params:
        check_matches(pattern, params)
        return jax.tree_util.tree_map_with_path(lambda path, _: bool(matches(path_of(path))), params)

    return mask


def by_path(
    groups: Mapping[str, Any], default: Any, function: Callable[[jax.Array, Any], jax.Array]
) -> optax.GradientTransformation:
    """u_i <- function(u_i, value_i): the value of the first pattern that matches path i, or the default.

    Raises:
      ValueError: at `init`, a pattern matches no parameter.
    """
    matchers = [(matcher(pattern), value) for pattern, value in groups.items()]

    def value_at(path: str) -> Any:
        return next((value for matches, value in matchers if matches(path)), default)

    def init_fn(params):
        for pattern in groups:
            check_matches(pattern, params)
        return optax.EmptyState()

    def update_fn(updates, state, params=None):
        del params
        updates = jax.tree_util.tree_map_with_path(
            lambda path, u: function(u, value_at(path_of(path))), updates
        )
        return updates, state

    return optax.GradientTransformation(init_fn, update_fn)

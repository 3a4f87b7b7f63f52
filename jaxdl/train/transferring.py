"""Reusing parameters: copying what fits, freezing what must not move.

A parameter's path is its names joined by "/": "encoder/Dense_0/kernel".
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.types import Params

Rename = Mapping[str, str] | Callable[[str], str]
Pattern = str | re.Pattern[str] | Callable[[str], bool]


@dataclasses.dataclass(frozen=True)
class TransferReport:
    """What `transfer` did, by path.

    Attributes:
      copied: parameters of the target that now hold the source's values.
      missing: parameters of the target that the source lacks; they keep their values.
      mismatched: `(path, source, target)`, the shape, or the dtype where kinds differ; the target's values
      stay. unused: parameters of the source, by their own path, that the target lacks. num_values: how many
      numbers were copied.
    """

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[tuple[str, str, str], ...]
    unused: tuple[str, ...]
    num_values: int

    def __str__(self) -> str:
        lines = [f"copied {len(self.copied)} parameters with {self.num_values:,} values"]
        lines += [f"  missing in source: {path}" for path in self.missing]
        lines += [f"  does not fit: {path} is {a} in source, {b} in target" for path, a, b in self.mismatched]
        lines += [f"  unused in source: {path}" for path in self.unused]
        return "\n".join(lines)


def transfer(
    source: Params, target: Params, *, rename: Rename | None = None, strict: bool = False
) -> tuple[Params, TransferReport]:
    """The target's parameters with every value replaced that the source holds under the same path and shape.

    Args:
      source: parameters to copy from; leaves of any float dtype.
      target: parameters to copy into; decides structure and dtypes.
      rename: from a source path to the target's, either a function or the beginnings of paths to exchange,
        such as `{"backbone": "encoder"}`; the longest that fits is taken.
      strict: raise unless both have the same paths and shapes.

    Returns:
      New parameters, sharing memory with neither argument, and the report; print it.

    Raises:
      ValueError: two source paths are renamed to one; a key of `rename` fits no path; with `strict`, anything
        is missing, mismatched or unused.
    """
    given = _by_path(source)
    rename_path = _renamer(rename, given)
    original: dict[str, str] = {}
    for path in given:
        new = rename_path(path)
        if new in original:
            raise ValueError(f"rename must keep paths apart, got {new!r} from {original[new]!r} and {path!r}")
        original[new] = path

    copied, missing, mismatched, count = [], [], [], 0

    def choose(key_path, ours):
        nonlocal count
        path = _path(key_path)
        if path not in original:
            missing.append(path)
            return jnp.array(ours, copy=True)
        theirs = given[original[path]]
        if np.shape(theirs) != np.shape(ours):
            mismatched.append((path, str(np.shape(theirs)), str(np.shape(ours))))
            return jnp.array(ours, copy=True)
        if _kind(theirs) != _kind(ours):
            mismatched.append((path, str(jnp.result_type(theirs)), str(jnp.result_type(ours))))
            return jnp.array(ours, copy=True)
        copied.append(path)
        count += math.prod(np.shape(ours))
        return jnp.array(theirs, dtype=jnp.result_type(ours), copy=True)

    params = jax.tree_util.tree_map_with_path(choose, target)
    wanted = _by_path(target)
    unused = tuple(path for new, path in original.items() if new not in wanted)
    report = TransferReport(tuple(copied), tuple(missing), tuple(mismatched), unused, count)
    if strict and (missing or mismatched or unused):
        raise ValueError(f"source and target must have the same parameters:\n{report}")
    return params, report


def freeze_parameters(
    tx: optax.GradientTransformation, pattern: Pattern
) -> optax.GradientTransformationExtraArgs:
    """An optimizer that moves only the parameters whose path does not match; the others' update is exactly 0.

    `tx` never sees a frozen parameter: it keeps no moments for it, does not decay it and does not count its
    gradient in a global norm. The gradient is still computed; where that costs too much, pass the frozen
    parameters to the objective as model state.

    Take this one for most of a network, as in fine-tuning. Take `optim.freeze` for a link among others, where the
    state must keep its shape.

    Args:
      tx: any transformation.
      pattern: regular expression searched for anywhere in a path, "^encoder/" or "bias$"; or a predicate of
        the path.

    Returns:
      A transformation of the whole tree.

    Raises:
      ValueError: at `init`, the pattern matches no parameter, or all.
    """
    matches = pattern if callable(pattern) else re.compile(pattern).search

    def labels(params):
        frozen = {path: bool(matches(path)) for path in _by_path(params)}
        if len(set(frozen.values())) != 1:
            return jax.tree_util.tree_map_with_path(
                lambda key_path, _: "frozen" if frozen[_path(key_path)] else "trained", params
            )
        which = "all" if all(frozen.values()) else "none"
        raise ValueError(
            f"pattern must match some of the parameters, not all, got {pattern!r}, which matches {which} of "
            f"{_some(frozen)}"
        )

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def _path(key_path: Any) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def _by_path(tree: Any) -> dict[str, Any]:
    return {_path(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _some(paths: Any) -> str:
    paths = list(paths)
    return ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")


def _kind(x: Any) -> Any:
    dtype = jnp.result_type(x)
    kinds = (jnp.floating, jnp.complexfloating, jnp.bool_, jnp.integer)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


def _renamer(rename: Rename | None, paths: Mapping[str, Any]) -> Callable[[str], str]:
    if rename is None:
        return lambda path: path
    if callable(rename):
        return rename

    def starts(path: str, prefix: str) -> bool:
        return path == prefix or path.startswith(prefix + "/")

    for prefix in rename:
        if not any(starts(path, prefix) for path in paths):
            raise ValueError(f"rename key {prefix!r} must begin a path of source, got {_some(paths)}")

    def new_path(path: str) -> str:
        prefix = max((p for p in rename if starts(path, p)), key=len, default=None)
        return path if prefix is None else (rename[prefix] + path[len(prefix) :]).lstrip("/")

    return new_path

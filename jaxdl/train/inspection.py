"""What a network is made of, and how it leaves the library."""

import dataclasses
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.markup
import rich.table
from flax import linen
from jax.extend import core as jex_core

from jaxdl import backends, files

_MARK = re.compile(r"jaxdl_layer_(\d+)")


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer: what it holds and computes itself, without the layers inside it.

    Attributes:
      path: names from the root, "Block_0/Dense_1"; the root is "".
      type: class name.
      output: what its first call returns, such as "float32[8, 10]". In a scanned body: of one iteration.
      parameters: number of trained values.
      state: number of values in other collections, such as running statistics.
      macs: multiply-adds of matrix products and convolutions in one forward pass.
    """

    path: str
    type: str
    output: str
    parameters: int
    state: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations of the products: 2 per multiply-add."""
        return 2 * self.macs


@dataclasses.dataclass(frozen=True)
class Summary:
    """A table of layers, in the order of their first call; `print` it or hand it to rich."""

    rows: tuple[LayerRow, ...]

    @property
    def total_parameters(self) -> int:
        """Number of trained values."""
        return sum(row.parameters for row in self.rows)

    @property
    def total_state(self) -> int:
        """Number of values in collections other than "params"."""
        return sum(row.state for row in self.rows)

    @property
    def total_flops(self) -> int:
        """Operations of matrix products and convolutions in one forward pass over the example batch."""
        return sum(row.flops for row in self.rows)

    def __rich__(self) -> rich.table.Table:
        table = rich.table.Table(title=self.rows[0].type, title_justify="left", show_footer=True)
        table.add_column("layer", "total", overflow="fold")
        table.add_column("type")
        table.add_column("output", overflow="fold")
        for name, total in (
            ("parameters", self.total_parameters),
            ("state", self.total_state),
            ("FLOPs", self.total_flops),
        ):
            table.add_column(name, f"{total:,}", justify="right", no_wrap=True)
        for row in self.rows:
            cells = (row.path or ".", row.type, row.output)
            numbers = (f"{n:,}" if n else "" for n in (row.parameters, row.state, row.flops))
            table.add_row(*map(rich.markup.escape, cells), *numbers)
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        rich.console.Console(file=text, width=110).print(self)
        return text.getvalue().rstrip()


def summary(model: linen.Module, *example_args: Any, **kwargs: Any) -> Summary:
    """The layers of a Linen model with their outputs, parameters and FLOPs; nothing of it is computed.

    FLOPs are read from the program that the forward pass traces to, each product belonging to the innermost
    layer that computes it: 2 per multiply-add of a matrix product or convolution, padding included, nothing
    for elementwise work. Layers count in their plain form, whatever form is fast on this machine. A scanned
    body counts once per iteration, of a `cond` the dearest branch, of a `while`, whose length is unknown, one
    iteration. A transposed convolution counts its input's elements times the kernel.

    Args:
      model: a Linen module.
      example_args: arguments of `model.init` after the key: arrays, or `jax.ShapeDtypeStruct`s.
      kwargs: its keyword arguments, such as `train=False` or `method=...`; what has no shape is not traced.

    Returns:
      A `Summary` with `.rows`, `.total_parameters`, `.total_state`, `.total_flops`.

    Differs from `linen.tabulate`: rows do not contain the layers inside them, so columns add up; FLOPs are
      counted by formula rather than by compiling each layer.
    """
    leaves, treedef = jax.tree.flatten((example_args, kwargs), is_leaf=lambda x: x is None)
    dynamic = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]

    def call(method, arrays, *head, **extra):
        filled = dict(zip(dynamic, arrays))
        args, kw = jax.tree.unflatten(treedef, [filled.get(i, leaf) for i, leaf in enumerate(leaves)])
        return method(*head, *args, **kw, **extra)

    arrays = [leaves[i] for i in dynamic]
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, arrays: call(model.init, arrays, key), key, arrays)

    indices: dict[tuple[str, ...], int] = {}
    types: list[str] = []
    outputs: list[str] = []

    def watch(next_fun, args, kwargs, context):
        path = context.module.path
        if context.method_name == "setup":
            return next_fun(*args, **kwargs)
        first = path not in indices
        if first:
            indices[path] = len(indices)
            types.append(type(context.module).__name__)
            outputs.append("")
        with jax.named_scope(f"jaxdl_layer_{indices[path]}"):
            result = next_fun(*args, **kwargs)
        if first:
            outputs[indices[path]] = _shapes(result)
        return result

    def forward(variables, key, arrays):
        return call(model.apply, arrays, variables, rngs={"params": key}, mutable=True)

    with linen.intercept_methods(watch), backends.plain_forms():
        program = jax.make_jaxpr(forward)(variables, key, arrays)

    macs = [0] * len(indices)
    for owner, count in _products(program.jaxpr, 0):
        macs[owner] += count
    parameters, state = [0] * len(indices), [0] * len(indices)
    for (collection, *path), leaf in _leaves(variables):
        holder = next(tuple(path[:n]) for n in range(len(path), -1, -1) if tuple(path[:n]) in indices)
        (parameters if collection == "params" else state)[indices[holder]] += math.prod(leaf.shape)
    rows = zip(indices, types, outputs, parameters, state, macs)
    return Summary(tuple(LayerRow("/".join(path), *rest) for path, *rest in rows))


def _leaves(tree: Any) -> list[tuple[list[str], Any]]:
    """Leaves with the names on the way to them."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [([jax.tree_util.keystr((k,), simple=True) for k in path], leaf) for path, leaf in found]


def _shapes(tree: Any) -> str:
    leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, "shape")]
    return ", ".join(f"{x.dtype}[{', '.join(map(str, x.shape))}]" for x in leaves)


def _products(jaxpr: Any, owner: int) -> list[tuple[int, int]]:
    """(layer, multiply-adds) of every product in a jaxpr; `owner` is the layer around it."""
    found = []
    for equation in jaxpr.eqns:
        marks = _MARK.findall(str(equation.source_info.name_stack))
        layer = int(marks[-1]) if marks else owner
        name = equation.primitive.name
        if name == "dot_general":
            found.append((layer, _dot_macs(equation)))
        elif name == "conv_general_dilated":
            found.append((layer, _convolution_macs(equation)))
        elif name == "cond":
            branches = [_products(branch.jaxpr, layer) for branch in equation.params["branches"]]
            found += max(branches, key=lambda products: sum(count for _, count in products))
        else:
            times = equation.params["length"] if name == "scan" else 1
            for inner in _inner_jaxprs(equation):
                found += [(o, times * count) for o, count in _products(inner, layer)]
    return found


def _inner_jaxprs(equation: Any) -> list[Any]:
    found = []
    for parameter in equation.params.values():
        for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
            if isinstance(inner, jex_core.ClosedJaxpr):
                found.append(inner.jaxpr)
            elif isinstance(inner, jex_core.Jaxpr):
                found.append(inner)
    return found


def _dot_macs(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs = equation.invars[0].aval.shape
    return math.prod(equation.outvars[0].aval.shape) * math.prod(lhs[axis] for axis in contracted)


def _convolution_macs(equation: Any) -> int:
    lhs, rhs = (variable.aval.shape for variable in equation.invars[:2])
    kernel = equation.params["dimension_numbers"].rhs_spec  # (output features, input features, *spatial)
    if math.prod(equation.params["lhs_dilation"]) > 1:
        # Zeros inserted between the input's elements are not multiplied: each element meets the kernel once.
        groups = equation.params["feature_group_count"]
        return math.prod(lhs) * math.prod(rhs[axis] for axis in kernel[2:]) * rhs[kernel[0]] // groups
    return math.prod(equation.outvars[0].aval.shape) * math.prod(rhs[axis] for axis in kernel[1:])


def export_stablehlo(
    function: Callable[..., Any],
    example_args: Sequence[Any],
    path: files.Path,
    *,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    batch_polymorphic: bool = False,
) -> None:
    """Writes a function, with the arrays that it closes over, to a file that runs without this library.

        export_stablehlo(lambda image: model.apply(variables, image, train=False), (image,), "net.stablehlo")

    Whoever has JAX runs it again, on any of the platforms, with the two lines

        exported = jax.export.deserialize(bytearray(open("net.stablehlo", "rb").read()))
        logits = exported.call(image)

    after `import jax.export`. JAX promises to read such files for six months at least.

    Args:
      function: pure, of arrays or trees of arrays.
      example_args: its arguments, arrays or `jax.ShapeDtypeStruct`s; only shapes and dtypes count.
      path: the file; written whole or not at all.
      platforms: what it must run on: "cpu", "cuda", "rocm", "tpu". None of them needs to be present here.
      batch_polymorphic: leave the leading axis of every argument free, the same size for all; `function` must
        then not depend on that size in Python.

    Raises:
      OSError: the file cannot be written.
      ValueError: an argument has no leading axis to leave free.
    """
    args = tuple(example_args)
    if batch_polymorphic:
        for name, leaf in jax.tree_util.tree_flatten_with_path(args)[0]:
            if np.ndim(leaf) < 1:
                where = jax.tree_util.keystr(name)
                raise ValueError(f"example_args{where} must have a batch axis to leave free, got shape ()")
        specs = jax.export.symbolic_args_specs(args, "b, ...")
    else:
        specs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x)), args)
    with (
        backends.plain_forms()
    ):  # the file runs elsewhere: what is fast on this machine's CPU is not asked for
        # A fresh function: a trace that JAX has kept from before may hold the forms of this machine.
        exported = jax.export.export(jax.jit(lambda *args: function(*args)), platforms=tuple(platforms))(
            *specs
        )
    files.write_bytes(path, bytes(exported.serialize()))

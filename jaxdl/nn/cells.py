"""Recurrent cells without gates: Elman's, Jordan's, and the reservoir of an echo state network.

Shapes: ... any leading axes (a batch), D inputs, H hidden units (features), O outputs.

A cell maps `(carry, x) -> (carry, y)` for one time step; `RNN` runs it over a sequence. All are
`linen.RNNCellBase`, so `linen.RNN` runs ours and `RNN` runs linen's. Where linen has the cell, names and shapes of the
parameters are linen's, and a checkpoint of either loads into the other.

Products are computed in the computation dtype, everything between them and the carry in float32 at least.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen

from jaxdl import checks
from jaxdl.nn.activations import tanh
from jaxdl.nn.initializers import Initializer, lecun_normal, orthogonal, zeros_init
from jaxdl.nn.time_loop import Carry, Step, Weights
from jaxdl.types import Array, Dtype

Gates = Mapping[str, Array]


class KernelAndBias(linen.Module):
    """The parameters of a dense layer or a convolution, for a cell that multiplies with several at once."""

    shape: Sequence[int]
    kernel_init: Initializer
    bias_init: Initializer | None
    param_dtype: Dtype

    @linen.compact
    def __call__(self) -> tuple[Array, Array | None]:
        kernel = self.param("kernel", self.kernel_init, tuple(self.shape), self.param_dtype)
        if self.bias_init is None:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, (self.shape[-1],), self.param_dtype)


class Cell(linen.RNNCellBase):
    """What our cells share. `RNN` asks for `constants` once, projects all inputs in one product, then loops."""

    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = lecun_normal()
    recurrent_kernel_init: Initializer = orthogonal()
    bias_init: Initializer = zeros_init()

    convolves: ClassVar[bool] = False  # whether a step holds a convolution
    attends: ClassVar[bool] = False  # whether `constants` takes the whole sequence

    def constants(self, x: Array) -> Any:
        """The parameters for inputs like x, in the computation dtype. The one compact method of a cell."""
        raise NotImplementedError

    @linen.nowrap
    def project(self, constants: Any, x: Array) -> Array:
        """What a step needs of its input, float [..., D] to [..., G]: the same for one step and for many."""
        return _plus(jnp.matmul(x.astype(constants.input.dtype), constants.input), constants.bias)

    @linen.nowrap
    def advance(self, constants: Any, carry: Carry, u: Array) -> tuple[Carry, Array, Gates]:
        """One step from a projected input: the new carry, the output and the gates. Pure."""
        raise NotImplementedError

    @linen.nowrap
    def fast_form(self, constants: Any) -> tuple[Step, Weights] | None:
        """What the fast loop needs, or None where the cell, as it is set, has no step with a known derivative."""
        return None

    @linen.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """A carry of zeros for inputs of this shape; rng is not used."""
        return self.zeros((*input_shape[:-1], self.features))

    @linen.nowrap
    def zeros(self, shape: Sequence[int]) -> Array:
        return jnp.zeros(tuple(shape), jnp.promote_types(self.param_dtype, jnp.float32))

    @property
    def num_feature_axes(self) -> int:
        """How many of the last axes of an input are no batch."""
        return 1

    @linen.nowrap
    def check(self, carry: Carry, x: Array) -> None:
        """That x is floating and the carry is one for it."""
        checks.at_least(1, features=self.features)
        checks.floating(x=x)
        if x.ndim < self.num_feature_axes:
            raise ValueError(f"x must have at least {self.num_feature_axes} axes, got shape {x.shape}")
        check_carry(self, carry, x.shape)

    @linen.nowrap
    def results(self, carry: Carry, y: Array, gates: Gates, return_gates: bool) -> Any:
        if return_gates and not gates:
            raise ValueError(f"return_gates must be False for {type(self).__name__}, which has no gates")
        return (carry, y, gates) if return_gates else (carry, y)

    def __call__(self, carry: Carry, x: Array, *, return_gates: bool = False) -> Any:
        """One time step.

        Args:
          carry: what `initialize_carry` or the step before returned.
          x: float [..., D].
          return_gates: also return a dict of the gates' values, each like the output.

        Returns:
          The new carry and the output in the computation dtype; and the gates if asked for.

        Raises:
          TypeError: x is not floating point.
          ValueError: the carry has not the structure and shapes for x, or a setting is out of range, or gates are
            asked of a cell that has none.
        """
        self.check(carry, x)
        constants = self.constants(x)
        return self.results(*self.advance(constants, carry, self.project(constants, x)), return_gates)


def _plus(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def check_carry(cell: linen.RNNCellBase, carry: Carry, input_shape: Sequence[int]) -> None:
    """Raises ValueError unless the carry has the structure and shapes of the cell's own for inputs of this shape."""
    wanted = jax.eval_shape(lambda: cell.initialize_carry(jax.random.key(0), tuple(input_shape)))
    shapes, got = (jax.tree.map(jnp.shape, tree) for tree in (wanted, carry))
    if shapes != got:
        raise ValueError(f"carry must have the shapes {shapes}, got {got}")


def kernels(
    cell: Any,
    side: str,
    gates: Sequence[str],
    inputs: int,
    init: Initializer,
    biases: Mapping[str, Initializer],
) -> tuple[Array, Array | None]:
    """The kernels [inputs, H] of several gates side by side, and their biases, 0 for a gate without one."""
    pairs = [
        KernelAndBias((inputs, cell.features), init, biases.get(gate), cell.param_dtype, name=side + gate)()
        for gate in gates
    ]
    rows = [jnp.zeros_like(k[0]) if b is None else b for k, b in pairs]
    # Joined here, once and outside any loop, the parts keep linen's names and cost next to nothing.
    return jnp.concatenate([k for k, _ in pairs], axis=1), jnp.concatenate(rows) if biases else None


def promote(cell: Any, x: Array, weights: Any) -> Any:
    """The arrays of a tuple in the computation dtype."""
    _, *cast = linen.dtypes.promote_dtype(jnp.zeros((), x.dtype), *weights, dtype=cell.dtype)
    return type(weights)(*cast) if hasattr(weights, "_fields") else tuple(cast)


def recurrent_product(state: Array, kernel: Array, bias: Array | None = None) -> Array:
    """h U + d."""
    return _plus(jnp.matmul(state.astype(kernel.dtype), kernel), bias)


def widen(*arrays: Array) -> list[Array]:
    """In float32 at least: what stands between products."""
    return [a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in arrays]


def _simple_step(sums, carry):
    h = jnp.tanh(sums[0])
    return h, (1 - h * h,)


_SIMPLE = Step(_simple_step, lambda k, d_sums, d_carry: k[0] * d_sums[0], joined=True)


class SimpleCell(Cell):
    """Elman's cell: the new state is a function of the input and of the last state.

    h' = f(W x + U h + b), y = h'.

    Parameters: `i` (`kernel` W [D, H], `bias` [H]) and `h` (`kernel` U [H, H]), as linen's. The recurrence is cheap
    but forgets or explodes within tens of steps; for longer memory take `GRUCell` or `LSTMCell`.

    Attributes:
      features: H, at least 1.
      dtype, param_dtype: computation dtype (None promotes inputs with parameters) and parameter dtype.
      kernel_init, recurrent_kernel_init, bias_init: initial W, U and b; `identity_init()` for U with f = relu is the
        IRNN.
      activation_fn: f.
      use_bias: whether to add b.

    Source: Elman, "Finding Structure in Time", 1990.
    Differs from torch.nn.RNN, which adds two biases: their sum is ours.
    """

    activation_fn: Callable[[Array], Array] = tanh
    use_bias: bool = True

    @linen.compact
    def constants(self, x: Array) -> Weights:
        biases = {"": self.bias_init} if self.use_bias else {}
        w, b = kernels(self, "i", [""], x.shape[-1], self.kernel_init, biases)
        u, _ = kernels(self, "h", [""], self.features, self.recurrent_kernel_init, {})
        return promote(self, x, Weights(w, u, b))

    @linen.nowrap
    def advance(self, constants: Weights, carry: Array, u: Array) -> tuple[Array, Array, Gates]:
        (a,) = widen(u + recurrent_product(carry, constants.recurrent))
        h = self.activation_fn(a)
        return h.astype(carry.dtype), h.astype(u.dtype), {}

    @linen.nowrap
    def fast_form(self, constants: Weights) -> tuple[Step, Weights] | None:
        return (_SIMPLE, constants) if self.activation_fn in (tanh, jnp.tanh, jax.nn.tanh) else None


class JordanCell(Cell):
    """Jordan's cell: what comes back is the last output, not the hidden state.

    h = f(W x + U y + b), y' = g(V h + c); the carry is y, [..., O].

    Parameters: `i` (`kernel` W [D, H], `bias` b), `y` (`kernel` U [O, H]) and `o` (`kernel` V [H, O], `bias` c). As
    the output is known in training, it can be forced: give the target of the last step as the carry. For a memory
    that is not limited to what the output shows take `SimpleCell`.

    Attributes:
      features: H, at least 1.
      dtype, param_dtype, kernel_init (of W and V), recurrent_kernel_init (of U), bias_init: as in `SimpleCell`.
      out_features: O; None for H.
      activation_fn: f.
      output_fn: g.

    Source: Jordan, "Serial Order: A Parallel Distributed Processing Approach", 1986.
    """

    out_features: int | None = None
    activation_fn: Callable[[Array], Array] = tanh
    output_fn: Callable[[Array], Array] = tanh

    @linen.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Array:
        """An output of zeros; rng is not used."""
        return self.zeros((*input_shape[:-1], self._outputs()))

    @linen.nowrap
    def _outputs(self) -> int:
        return self.features if self.out_features is None else self.out_features

    @linen.compact
    def constants(self, x: Array) -> tuple[Weights, Array, Array]:
        outputs, hidden = self._outputs(), self.features
        checks.at_least(1, out_features=outputs)

        def parameters(name, inputs, features, init, bias_init):
            return KernelAndBias((inputs, features), init, bias_init, self.param_dtype, name=name)()

        w, b = parameters("i", x.shape[-1], hidden, self.kernel_init, self.bias_init)
        u, _ = parameters("y", outputs, hidden, self.recurrent_kernel_init, None)
        v, c = parameters("o", hidden, outputs, self.kernel_init, self.bias_init)
        w, u, b, v, c = promote(self, x, (w, u, b, v, c))
        return Weights(w, u, b), v, c

    @linen.nowrap
    def project(self, constants: tuple[Weights, Array, Array], x: Array) -> Array:
        return super().project(constants[0], x)

    @linen.nowrap
    def advance(
        self, constants: tuple[Weights, Array, Array], carry: Array, u: Array
    ) -> tuple[Array, Array, Gates]:
        inner, v, c = constants
        (a,) = widen(u + recurrent_product(carry, inner.recurrent))
        (z,) = widen(recurrent_product(self.activation_fn(a), v, c))
        y = self.output_fn(z)
        return y.astype(carry.dtype), y.astype(u.dtype), {}


def spectral_radius(matrix: Array, squarings: int = 20) -> Array:
    """The largest |eigenvalue| of a matrix [N, N], by Gelfand's formula lim |A^k|^(1/k) with k = 2^squarings.

    Matrix products only, so it runs on every backend, under jit and vmap; LAPACK's eigenvalues do not. The power is
    renormalised at each squaring. 0 for a nilpotent matrix.
    """

    def square(carry, _):
        power, log = carry
        power = jnp.matmul(power, power, precision=jax.lax.Precision.HIGHEST)
        size = jnp.linalg.norm(power)
        scale = jnp.where(size > 0, size, 1)
        return (power / scale, 2 * log + jnp.where(size > 0, jnp.log(scale), -jnp.inf)), None

    size = jnp.linalg.norm(matrix)
    start = matrix / jnp.where(size > 0, size, 1), jnp.log(size)
    (_, log), _ = jax.lax.scan(square, start, None, squarings)
    return jnp.exp(log / 2**squarings)


class EchoStateCell(Cell):
    """A reservoir: a large, random, fixed recurrent layer, in front of a readout that alone is trained.

    s' = (1 - a) s + a tanh(W_in x + W s + b), y = s'.

    W is drawn at random with the given density of non-zero weights and scaled so that its largest |eigenvalue| is
    `spectral_radius`: below 1 the influence of the first state usually fades (the echo state property), near 1 the
    memory is longest. Nothing here is trained: W_in, W and b are in the collection "reservoir", not in "params", so
    no optimizer sees them. Gradients with respect to inputs and states pass through.

    Attributes:
      features: number of units, at least 1.
      dtype, param_dtype: as in `SimpleCell`; kernel_init, recurrent_kernel_init and bias_init are not used.
      spectral_radius: of W, positive.
      leak: a, in (0, 1]; smaller is slower.
      input_scale: W_in ~ U(-input_scale, input_scale), positive.
      bias_scale: b ~ U(-bias_scale, bias_scale), at least 0.
      density: share of non-zero weights in W, in (0, 1]. A share of a few weights for each unit is enough.

    Source: Jaeger, "The 'echo state' approach to analysing and training recurrent neural networks", 2001; leaky units
    as in Jaeger et al., "Optimization and applications of echo state networks with leaky-integrator neurons", 2007.
    """

    spectral_radius: float = 0.9
    leak: float = 1.0
    input_scale: float = 1.0
    bias_scale: float = 0.0
    density: float = 1.0

    @linen.compact
    def constants(self, x: Array) -> Weights:
        checks.positive(
            spectral_radius=self.spectral_radius,
            leak=self.leak,
            input_scale=self.input_scale,
            density=self.density,
        )
        checks.between(0, 1, leak=self.leak, density=self.density)
        checks.non_negative(bias_scale=self.bias_scale)
        n = self.features

        def uniform(shape, scale):
            return lambda: jax.random.uniform(self.make_rng("params"), shape, self.param_dtype, -scale, scale)

        def reservoir():
            wide = jnp.promote_types(self.param_dtype, jnp.float32)
            drawn, kept = jax.random.split(self.make_rng("params"))
            w = jax.random.normal(drawn, (n, n), wide) / math.sqrt(n * self.density)
            w = jnp.where(jax.random.bernoulli(kept, self.density, (n, n)), w, 0)
            radius = spectral_radius(w)
            # A reservoir without a cycle has radius 0 at every scale, and no memory that a scale could mend.
            return jnp.where(radius > 0, w * (self.spectral_radius / radius), w).astype(self.param_dtype)

        w_in = self.variable("reservoir", "input_kernel", uniform((x.shape[-1], n), self.input_scale)).value
        w = self.variable("reservoir", "kernel", reservoir).value
        b = self.variable("reservoir", "bias", uniform((n,), self.bias_scale)).value
        return promote(self, x, Weights(*map(jax.lax.stop_gradient, (w_in, w, b))))

    @linen.nowrap
    def advance(self, constants: Weights, carry: Array, u: Array) -> tuple[Array, Array, Gates]:
        a, s = widen(u + recurrent_product(carry, constants.recurrent), carry)
        s = (1 - self.leak) * s + self.leak * jnp.tanh(a)
        return s.astype(carry.dtype), s.astype(u.dtype), {}

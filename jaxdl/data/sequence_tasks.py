"""Sequence tasks made from a key, each with its exact answer: what recurrent nets are measured on.

All functions are pure, jittable with static sizes, and vmappable over the key.
"""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.types import Array


def adding_problem(key: Array, size: int, length: int) -> dict[str, Array]:
    """Add the two numbers of a sequence that are marked.

    y = v_i + v_j,  v_t ~ U[0, 1);  i uniform in the first half of the sequence, j in the second

    The first marked number must be kept over up to `length` steps. Always answering 1 has a mean squared error
    of 1/6 = 0.1667, the best that is possible without memory; the error of the right answer is 0.

    Args:
      key: PRNG key.
      size: sequences, at least 1.
      length: steps T, at least 2.

    Returns:
      `x` float32 [size, T, 2], the numbers and the marks (1 at i and j, else 0); `y` float32 [size, 1].

    Source: Hochreiter and Schmidhuber (1997), experiment 4, in the form of Le, Jaitly and Hinton (2015).
    """
    checks.at_least(1, size=size)
    checks.at_least(2, length=length)
    values_key, first_key, second_key = jax.random.split(key, 3)
    values = jax.random.uniform(values_key, (size, length))
    first = jax.random.randint(first_key, (size,), 0, length // 2)
    second = jax.random.randint(second_key, (size,), length // 2, length)
    marks = jax.nn.one_hot(first, length) + jax.nn.one_hot(second, length)
    return {"x": jnp.stack([values, marks], axis=-1), "y": jnp.sum(values * marks, axis=1, keepdims=True)}


def copy_memory(
    key: Array, size: int, gap: int, *, num_symbols: int = 8, num_copied: int = 10
) -> dict[str, Array]:
    """Repeat the first symbols of a sequence after a gap.

    Input: K symbols, L - 1 blanks, a cue, K blanks. Target: K + L blanks, then the K symbols, in order.

    Without memory the best is to name blanks and guess the symbols uniformly: a mean cross-entropy of
    K log(S) / (L + 2 K) nats per step. With memory it is 0.

    Args:
      key: PRNG key.
      size: sequences, at least 1.
      gap: L, steps between the last symbol and the first step of the answer, at least 1.
      num_symbols: S, at least 2.
      num_copied: K, at least 1.

    Returns:
      `x` and `y` int32 [size, L + 2 K]: symbols 0 to S - 1, blank S, cue S + 1; `y` has no cue.

    Source: Hochreiter and Schmidhuber (1997); Arjovsky, Shah and Bengio (2016), section 5.1.
    """
    checks.at_least(1, size=size, gap=gap, num_copied=num_copied)
    checks.at_least(2, num_symbols=num_symbols)
    symbols = jax.random.randint(key, (size, num_copied), 0, num_symbols, jnp.int32)
    blank, cue = num_symbols, num_symbols + 1

    def blanks(steps: int) -> Array:
        return jnp.full((size, steps), blank, jnp.int32)

    cues = jnp.full((size, 1), cue, jnp.int32)
    return {
        "x": jnp.concatenate([symbols, blanks(gap - 1), cues, blanks(num_copied)], axis=1),
        "y": jnp.concatenate([blanks(gap + num_copied), symbols], axis=1),
    }


def parity(key: Array, size: int, length: int) -> dict[str, Array]:
    """Say at every step whether the number of ones so far is odd.

    y_t = (x_1 + ... + x_t) mod 2,  x_t fair bits

    One bit of memory solves it exactly; without, every answer is right half of the time.

    Args:
      key: PRNG key.
      size: sequences, at least 1.
      length: steps T, at least 1.

    Returns:
      `x` float32 [size, T, 1] and `y` int32 [size, T].
    """
    checks.at_least(1, size=size, length=length)
    bits = jax.random.bernoulli(key, 0.5, (size, length)).astype(jnp.int32)
    return {"x": bits[..., None].astype(jnp.float32), "y": jnp.cumsum(bits, axis=1) % 2}


def reverse_tokens(key: Array, size: int, length: int, *, num_symbols: int = 10) -> dict[str, Array]:
    """Write a sequence of random symbols backwards.

    y_t = x_{T + 1 - t}

    Args:
      key: PRNG key.
      size: sequences, at least 1.
      length: steps T, at least 1.
      num_symbols: S, at least 2.

    Returns:
      `x` and `y` int32 [size, T], in [0, S).
    """
    checks.at_least(1, size=size, length=length)
    checks.at_least(2, num_symbols=num_symbols)
    x = jax.random.randint(key, (size, length), 0, num_symbols, jnp.int32)
    return {"x": x, "y": x[:, ::-1]}


def sine_waves(
    key: Array, size: int, length: int, *, noise: float = 0.0, step: float = 0.1
) -> dict[str, Array]:
    """Predict the next value of a sine of unknown frequency, phase and amplitude.

    s_t = a sin(2 pi f t step + p) + noise n_t;  a ~ U[0.5, 1.5), f ~ U[0.5, 1.5), p ~ U[0, 2 pi), n_t ~ N(0, 1)

    Without noise, s_{t+1} = 2 cos(2 pi f step) s_t - s_{t-1}: two steps of memory and the frequency suffice.

    Args:
      key: PRNG key.
      size: sequences, at least 1.
      length: steps T, at least 1.
      noise: standard deviation of what is added to every value, at least 0.
      step: time between two values, above 0.

    Returns:
      `x` float32 [size, T, 1], s_0 to s_{T-1}; `y` float32 [size, T, 1], s_1 to s_T.
    """
    checks.at_least(1, size=size, length=length)
    checks.non_negative(noise=noise)
    checks.positive(step=step)
    a_key, f_key, p_key, n_key = jax.random.split(key, 4)
    amplitude = jax.random.uniform(a_key, (size, 1), minval=0.5, maxval=1.5)
    frequency = jax.random.uniform(f_key, (size, 1), minval=0.5, maxval=1.5)
    phase = jax.random.uniform(p_key, (size, 1), maxval=2 * jnp.pi)
    time = step * jnp.arange(length + 1, dtype=jnp.float32)[None]
    values = amplitude * jnp.sin(2 * jnp.pi * frequency * time + phase)
    values = (values + noise * jax.random.normal(n_key, values.shape))[..., None]
    return {"x": values[:, :-1], "y": values[:, 1:]}

"""One update of all parameters, by this library's optimizers, by Optax's and by PyTorch's.

Gradients are given, so that nothing but the optimizer is timed: two of them, of which every block of updates takes the
other one. Parameters and state are updated in place on all sides. PyTorch runs its two fast forms, one kernel for an
operation on all arrays (foreach) and one for the whole update (fused).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.machine import cores
from benchmarks.measure import Row, Run, Side, Target

LEARNING_RATE = 1e-3
SAMPLE = 256  # parameters that are compared


def _arrays(seed: int, leaves: int, size: int) -> Iterator[np.ndarray]:
    """Arrays of `size` numbers, uniform about 0 and as large as weights are, as square as `size` allows."""
    rows = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    rng = np.random.default_rng(seed)
    return ((rng.random((rows, size // rows), np.float32) - 0.5) / 8 for _ in range(leaves))


def _moved(start: np.ndarray, now: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """How far the sampled parameters have moved, and how far of it against the first gradient."""
    step = now.astype(np.float64) - start
    return np.array([np.abs(step).mean(), -(step * np.sign(gradient)).mean()])


def _jax_side(name: str, make: Callable[[], Any], leaves: int, size: int) -> Side:
    def build() -> Run:
        import jax
        import jax.numpy as jnp
        import optax

        tx = make()
        params = {f"layer_{i:03}": jnp.asarray(x) for i, x in enumerate(_arrays(0, leaves, size))}
        grads = [dict(zip(params, map(jnp.asarray, _arrays(seed, leaves, size)))) for seed in (1, 2)]

        def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        step = jax.jit(update, donate_argnums=(0, 1))
        state = jax.jit(tx.init)(params)
        sample = jax.jit(lambda tree: jnp.concatenate([x[0, : SAMPLE // leaves + 1] for x in tree.values()]))
        start, gradient = np.asarray(sample(params), np.float64), np.asarray(sample(grads[0]))
        turn = 0

        def run(units: int) -> np.ndarray:
            nonlocal params, state, turn
            for _ in range(units):
                params, state = step(params, state, grads[turn % 2])
            jax.block_until_ready((params, state))
            turn += 1
            return _moved(start, np.asarray(sample(params)), gradient)

        return run

    return Side(name, build)


def _torch_side(name: str, make: Callable[..., Any], leaves: int, size: int, **form: bool) -> Side:
    def build() -> Run:
        import torch

        torch.set_num_threads(cores())
        params = [torch.from_numpy(x).requires_grad_() for x in _arrays(0, leaves, size)]
        grads = [[torch.from_numpy(x) for x in _arrays(seed, leaves, size)] for seed in (1, 2)]
        optimizer = make(torch, params, **form)

        def sample(tensors: Any) -> np.ndarray:
            return np.concatenate([x.detach()[0, : SAMPLE // leaves + 1].numpy() for x in tensors])

        start, gradient = sample(params).astype(np.float64), sample(grads[0])
        turn = 0

        def run(units: int) -> np.ndarray:
            nonlocal turn
            for p, g in zip(params, grads[turn % 2]):
                p.grad = g
            for _ in range(units):
                optimizer.step()
            turn += 1
            return _moved(start, sample(params), gradient)

        return run

    return Side(f"torch ({name})", build, needs=("torch",))


def _ours(name: str) -> Callable[[], Any]:
    def make() -> Any:
        from jaxdl import optim

        return getattr(optim, name)(LEARNING_RATE)

    return make


def _optax(name: str, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        import optax

        return getattr(optax, name)(LEARNING_RATE, **settings)

    return make


def _torch(name: str, **settings: Any) -> Callable[..., Any]:
    return lambda torch, params, **form: getattr(torch.optim, name)(params, LEARNING_RATE, **settings, **form)


OPTIMIZERS = {
    # name: (Optax's, PyTorch's, which has no lion)
    "adam": (_optax("adam"), _torch("Adam")),
    "adamw": (_optax("adamw"), _torch("AdamW", weight_decay=1e-4)),
    "lion": (_optax("lion"), None),
    "momentum": (_optax("sgd", momentum=0.9), _torch("SGD", momentum=0.9)),
}


def update_row(optimizer: str, leaves: int, size: int) -> Row:
    """Updates of `leaves` arrays of `size` parameters each.

    Args:
      optimizer: name in `OPTIMIZERS`.
      leaves: arrays.
      size: parameters of each.
    """
    theirs, torch = OPTIMIZERS[optimizer]
    sides = [_jax_side("jaxdl", _ours(optimizer), leaves, size), _jax_side("optax", theirs, leaves, size)]
    if torch is not None:
        sides += [_torch_side(form, torch, leaves, size, **{form: True}) for form in ("fused", "foreach")]
    millions = leaves * size / 1e6
    return Row(
        name=f"{optimizer}_{millions:.0f}m_{leaves}",
        trains=f"{optimizer}, {millions:.0f} million parameters in {leaves} arrays",
        sides=sides,
        targets=[Target("never slower than Optax, within 3 %", "optax", "jaxdl", at_least=0.97)],
        unit="update",
        units=max(1, round(100 / millions)),
        check_units=4,
        limit=40.0,
    )


def update_rows() -> list[Row]:
    """Adam at both sizes in few and in many arrays; three more where they differ most from it."""
    return [
        *(
            update_row("adam", leaves, total // leaves)
            for total in (10**6, 25 * 10**6)
            for leaves in (2, 200)
        ),
        update_row("adamw", 200, 125_000),
        update_row("lion", 200, 5_000),
        update_row("momentum", 200, 5_000),
        update_row("momentum", 2, 12_500_000),
    ]

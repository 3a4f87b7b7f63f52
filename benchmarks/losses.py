"""Losses, forward and backward, against Optax's and PyTorch's; the gradient is that of the first argument."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import Row, Run, Side, Target

Loss = Callable[..., Any]


def _jax_side(name: str, make: Callable[[], Loss], arguments: Sequence[np.ndarray]) -> Side:
    def build() -> Run:
        import jax
        import jax.numpy as jnp

        loss = make()
        step = jax.jit(jax.value_and_grad(lambda x, *rest: jnp.mean(loss(x, *rest))))
        given = jax.device_put(tuple(arguments))

        def run(units: int) -> np.ndarray:
            value, gradient = step(*given)
            for _ in range(units - 1):
                value, gradient = step(*given)
            jax.block_until_ready(gradient)
            return np.array([float(value), np.linalg.norm(np.asarray(gradient, np.float64))])

        return run

    return Side(name, build)


def _torch_side(make: Callable[[], Loss], arguments: Sequence[np.ndarray]) -> Side:
    def build() -> Run:
        import torch

        loss = make()
        x, *rest = (torch.from_numpy(np.array(argument)) for argument in arguments)
        x.requires_grad_()

        def once() -> tuple[Any, Any]:
            value = loss(x, *rest)
            return value, torch.autograd.grad(value, [x])[0]

        def run(units: int) -> np.ndarray:
            value, gradient = once()
            for _ in range(units - 1):
                value, gradient = once()
            return np.array([value.item(), np.linalg.norm(gradient.numpy().astype(np.float64))])

        return run

    return Side("torch", build, needs=("torch",))


def _row(
    name: str,
    trains: str,
    jax_sides: Mapping[str, Callable[[], Loss]],
    torch: Callable[[], Loss],
    arguments: Sequence[np.ndarray],
    targets: Sequence[Target],
    units: int,
    torch_arguments: Sequence[np.ndarray] | None = None,
) -> Row:
    sides = [_jax_side(side, make, arguments) for side, make in jax_sides.items()]
    return Row(
        name=name,
        trains=trains,
        sides=[*sides, _torch_side(torch, torch_arguments or arguments)],
        targets=targets,
        unit="pass",
        units=units,
        check_units=1,
        tolerance=2e-3,
        limit=20.0,
    )


def cross_entropy_row(batch: int = 256, classes: int = 50_000) -> Row:
    """Softmax cross-entropy of integer labels with a vocabulary of classes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(batch, classes)).astype(np.float32)
    labels = rng.integers(0, classes, batch)

    def ours() -> Loss:
        from jaxdl import losses

        return losses.softmax_cross_entropy_with_integer_labels

    def optax() -> Loss:
        import optax

        return optax.softmax_cross_entropy_with_integer_labels

    def torch() -> Loss:
        from torch.nn import functional

        return functional.cross_entropy

    return _row(
        "cross_entropy",
        f"softmax cross-entropy, {batch} rows of {classes:,} classes",
        {"jaxdl": ours, "optax": optax},
        torch,
        [logits, labels.astype(np.int32)],
        [Target("never slower than Optax, within 3 %", "optax", "jaxdl", at_least=0.97)],
        units=4,
        torch_arguments=[logits, labels],
    )


def ctc_row(batch: int = 32, steps: int = 200, classes: int = 40, words: int = 30) -> Row:
    """Connectionist temporal classification of sequences and labels of different lengths."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(batch, steps, classes)).astype(np.float32)
    labels = rng.integers(1, classes, (batch, words))
    frames = rng.integers(3 * steps // 5, steps + 1, batch)
    lengths = rng.integers(words // 6, words + 1, batch)
    paddings = [
        (np.arange(size) >= counts[:, None]).astype(np.float32)
        for size, counts in ((steps, frames), (words, lengths))
    ]

    def ours() -> Loss:
        from jaxdl import losses

        return losses.ctc

    def optax() -> Loss:
        import optax

        return optax.losses.ctc_loss

    def torch() -> Loss:
        from torch.nn import functional

        def loss(x, labels, frames, lengths):
            log_probabilities = x.log_softmax(-1).transpose(0, 1)
            each = functional.ctc_loss(log_probabilities, labels, frames, lengths, reduction="none")
            return each.mean()

        return loss

    return _row(
        "ctc",
        f"CTC, {batch} sequences of {steps} steps, {classes} classes, up to {words} labels",
        {"jaxdl": ours, "optax": optax},
        torch,
        [logits, paddings[0], labels.astype(np.int32), paddings[1]],
        [
            Target("never slower than Optax, within 3 %", "optax", "jaxdl", at_least=0.97),
            Target("at least the speed of PyTorch", "torch", "jaxdl", at_least=1.0),
        ],
        units=8,
        torch_arguments=[logits, labels, frames, lengths],
    )


def ssim_row(batch: int = 64, size: int = 256) -> Row:
    """1 - SSIM of grey images; PyTorch's side is the usual pair of one-dimensional convolutions."""
    rng = np.random.default_rng(0)
    images = [rng.uniform(size=(batch, size, size, 1)).astype(np.float32) for _ in range(2)]

    def ours() -> Loss:
        from jaxdl import losses

        return lambda x, y: losses.ssim_loss(x, y, data_range=1.0)

    def torch() -> Loss:
        import torch as library
        from torch.nn import functional

        window = library.exp(-0.5 * ((library.arange(11) - 5) / 1.5) ** 2)
        window = (window / window.sum())[None, None, None]

        def mean(z):
            return functional.conv2d(functional.conv2d(z, window), window.mT)

        def loss(x, y):
            mean_x, mean_y = mean(x), mean(y)
            product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
            covariance, variances = mean(x * y) - product, mean(x**2 + y**2) - squares
            similarity = (2 * product + 1e-4) * (2 * covariance + 9e-4)
            return 1 - (similarity / ((squares + 1e-4) * (variances + 9e-4))).mean()

        return loss

    return _row(
        "ssim",
        f"1 - SSIM of {batch} images {size}×{size}",
        {"jaxdl": ours},
        torch,
        images,
        [Target("at least the speed of PyTorch", "torch", "jaxdl", at_least=1.0)],
        units=2,
        torch_arguments=[np.ascontiguousarray(image.transpose(0, 3, 1, 2)) for image in images],
    )

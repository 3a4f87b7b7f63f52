"""One classification problem, trained by four frameworks the way each is usually written.

Shapes: N batches, B batch, H height, W width, C channels, D features, K classes.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import cores
from benchmarks.measure import Run, Side

Layer = tuple[np.ndarray, np.ndarray]  # kernel [..., in, out], bias [out]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Data, first weights and optimizer: the same numbers for every side.

    Attributes:
      inputs: float32 [N, B, D] or [N, B, H, W, C]; step i takes batch i mod N.
      labels: int32 [N, B].
      layers: first weights by depth; convolutions [height, width, in, out].
      optimizer: "adam" or "momentum" (0.9).
      learning_rate: in parameter units per step.
    """

    inputs: np.ndarray
    labels: np.ndarray
    layers: tuple[Layer, ...]
    optimizer: str
    learning_rate: float


def random_layers(
    rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], gain: float = 1.0
) -> tuple[Layer, ...]:
    """Kernels N(0, gain / fan_in) and zero biases.

    Args:
      rng: generator that is drawn from.
      shapes: kernel shapes [..., in, out] by depth.
      gain: 2 for ReLU.
    """
    return tuple(
        (
            rng.normal(0, math.sqrt(gain / math.prod(shape[:-1])), shape).astype(np.float32),
            np.zeros(shape[-1], np.float32),
        )
        for shape in shapes
    )


def random_batches(
    rng: np.random.Generator, num_batches: int, batch_size: int, shape: tuple[int, ...], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [N, B, *shape], a fixed picture per class under as much noise, with labels [N, B].

    There is something to learn, so that the loss falls at once and tells one learning rate from another.
    """
    labels = rng.integers(0, num_classes, (num_batches, batch_size)).astype(np.int32)
    pictures = rng.normal(size=(num_classes, *shape))
    inputs = pictures[labels] + rng.normal(size=(num_batches, batch_size, *shape))
    return inputs.astype(np.float32), labels


def place(tree: Any, layers: Sequence[Layer]) -> Any:
    """Linen parameters with the given weights.

    A layer is found by its fan-in and its outputs, so a dense layer and a convolution over its whole input,
    which are the same map, take the same weights whatever the modules are called.

    Args:
      tree: parameters, or their shapes, whose leaves are called `kernel` and `bias`.
      layers: weights; each of another size.

    Raises:
      ValueError: a parameter has no place in `layers`, or the other way round.
    """
    by_size = {(math.prod(kernel.shape[:-1]), kernel.shape[-1]): (kernel, bias) for kernel, bias in layers}
    if len(by_size) != len(layers):
        raise ValueError("layers must differ in size to be told apart")

    def fill(name: str, node: Any) -> Any:
        if "kernel" not in node:
            return {key: fill(f"{name}/{key}", child) for key, child in node.items()}
        shape = node["kernel"].shape
        size = math.prod(shape[:-1]), shape[-1]
        if set(node) != {"kernel", "bias"} or size not in by_size:
            raise ValueError(f"{name} has no counterpart: {sorted(node)}, kernel {shape}")
        kernel, bias = by_size.pop(size)
        return {"kernel": kernel.reshape(shape), "bias": bias}

    filled = fill("params", tree)
    if by_size:
        raise ValueError(f"no parameter of the model takes the layers of size {sorted(by_size)}")
    return filled


def placed(model: Any, inputs: np.ndarray, layers: Sequence[Layer], **call: Any) -> Any:
    """The weights in the parameter tree of a linen model, on the device; `call` is passed to the model."""
    import jax

    shapes = jax.eval_shape(functools.partial(model.init, **call), jax.random.key(0), inputs)
    return jax.tree.map(jax.numpy.asarray, place(shapes["params"], layers))


def _device_batches(problem: Problem) -> list[dict[str, Any]]:
    import jax

    return [
        jax.device_put({"image": image, "label": label})
        for image, label in zip(problem.inputs, problem.labels)
    ]


def _looped(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, batches: list[Any], units: int = 1
) -> Run:
    """Calls `step` on one of `batches` after the other, `units` units a call, and waits for the last."""
    import jax

    taken = 0

    def run(wanted: int) -> float:
        nonlocal state, taken
        losses = []
        for _ in range(wanted // units):
            state, metrics = step(state, batches[taken % len(batches)])
            losses.append(metrics["loss"])
            taken += 1
        jax.block_until_ready(state)
        return float(np.mean(jax.device_get(losses)))

    return run


def jaxdl_step(
    model: Callable[[], Any], problem: Problem, *, num_microbatches: int = 1, report_norms: bool = True
) -> tuple[Callable[[Any, Any], tuple[Any, Any]], Any]:
    """This library's step on a problem, not jitted, and its first state."""
    import jax

    from jaxdl import losses, optim
    from jaxdl.objectives import classification
    from jaxdl.train import backprop, create_train_state, make_update, microbatched

    net = model()
    tx = {"adam": optim.adam, "momentum": functools.partial(optim.momentum, decay=0.9)}[problem.optimizer]
    tx = tx(problem.learning_rate)
    grad_fn = backprop(classification(net, losses.softmax_cross_entropy_with_integer_labels))
    if num_microbatches > 1:
        grad_fn = microbatched(grad_fn, num_microbatches)
    state = create_train_state(
        jax.random.key(1), {"params": placed(net, problem.inputs[0], problem.layers, train=True)}, tx
    )
    return make_update(grad_fn, tx, report_norms=report_norms), state


def jaxdl(
    model: Callable[[], Any], problem: Problem, *, num_microbatches: int = 1, report_norms: bool = True
) -> Side:
    """This library: objective, update, jitted and donated.

    Args:
      model: makes the linen module; called when the side is built.
      problem: what is trained.
      num_microbatches: above 1, the gradient is gathered from as many slices of the batch.
      report_norms: False leaves out the norms of gradient and update, which no other side computes.
    """

    def build() -> Run:
        import jax

        step, state = jaxdl_step(model, problem, num_microbatches=num_microbatches, report_norms=report_norms)
        return _looped(jax.jit(step, donate_argnums=0), state, _device_batches(problem))

    form = [f"{num_microbatches} microbatches"] * (num_microbatches > 1) + ["no norms"] * (not report_norms)
    name = f"jaxdl ({', '.join(form)})" if form else "jaxdl"
    return Side(name, build)


# XLA's CPU compiler hands products and reductions to YNNPACK by default; without it some programs are faster.
NO_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}


def jaxdl_scanned(
    model: Callable[[], Any], problem: Problem, *, report_norms: bool = True, ynn: bool = True
) -> Side:
    """This library: as many steps in one program, by `scan_steps`, as the problem has batches.

    Args:
      model: makes the linen module; called when the side is built.
      problem: what is trained.
      report_norms: False leaves out the norms of gradient and update, which no other side computes.
      ynn: False compiles with `NO_YNN`.
    """
    count = len(problem.inputs)

    def build() -> Run:
        import jax

        from jaxdl.train import scan_steps

        step, state = jaxdl_step(model, problem, report_norms=report_norms)
        stacked = jax.device_put({"image": problem.inputs, "label": problem.labels})
        options = None if ynn else NO_YNN
        scanned = jax.jit(scan_steps(step, count), donate_argnums=0, compiler_options=options)
        return _looped(scanned, state, [stacked], units=count)

    form = f"{count} steps a call" + ", no norms" * (not report_norms) + ", no YNN" * (not ynn)
    return Side(f"jaxdl ({form})", build, quantum=count)


def naive_scanned(model: Callable[[], Any], problem: Problem) -> Side:
    """The same steps in a bare `lax.scan`: what `scan_steps` is there to avoid for convolutions on CPU."""
    count = len(problem.inputs)

    def build() -> Run:
        import jax

        step, state = jaxdl_step(model, problem)
        stacked = jax.device_put({"image": problem.inputs, "label": problem.labels})
        scanned = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches), donate_argnums=0)
        return _looped(scanned, state, [stacked], units=count)

    return Side(f"bare lax.scan ({count} steps a call)", build, quantum=count)


def linen(model: Callable[[], Any], problem: Problem, *, report_norms: bool = False) -> Side:
    """Plain Flax: its TrainState, Optax, one jitted and donated step that reports loss and accuracy.

    Args:
      model: makes the linen module; called when the side is built.
      problem: what is trained.
      report_norms: the step also reports the norms of gradient and update, as this library's does by default.
    """

    def build() -> Run:
        import jax
        import jax.numpy as jnp
        import optax
        from flax.training.train_state import TrainState

        net = model()
        tx = {"adam": optax.adam, "momentum": functools.partial(optax.sgd, momentum=0.9)}[problem.optimizer]

        @functools.partial(jax.jit, donate_argnums=0)
        def train_step(state, batch):
            def loss_fn(params):
                logits = state.apply_fn({"params": params}, batch["image"])
                loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
                return loss, logits

            (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
            accuracy = jnp.mean(jnp.argmax(logits, -1) == batch["label"])
            metrics = {"loss": loss, "accuracy": accuracy}
            if not report_norms:
                return state.apply_gradients(grads=grads), metrics
            updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            metrics |= {"grad_norm": optax.tree.norm(grads), "update_norm": optax.tree.norm(updates)}
            return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

        state = TrainState.create(
            apply_fn=net.apply,
            params=placed(net, problem.inputs[0], problem.layers),
            tx=tx(problem.learning_rate),
        )
        return _looped(train_step, state, _device_batches(problem))

    return Side("flax (both norms)" if report_norms else "flax", build)


def torch(
    net: Callable[[], Any],
    problem: Problem,
    *,
    channels_last: bool = False,
    fused: bool = False,
    flattened: tuple[int, ...] | None = None,
) -> Side:
    """PyTorch, eager: zero_grad, forward, backward, step.

    Args:
      net: makes the `nn.Module`; its weights are replaced.
      problem: what is trained; images are turned to [B, C, H, W].
      channels_last: memory layout of images and convolutions.
      fused: one kernel for the optimizer's whole update instead of PyTorch's default.
      flattened: (H, W, C) where the first dense layer reads images; PyTorch flattens channels first.
    """
    images = problem.inputs.ndim == 5

    def build() -> Run:
        import torch
        from torch.nn import functional

        torch.set_num_threads(cores())
        module = net()
        targets = [layer for layer in module.modules() if getattr(layer, "weight", None) is not None]
        dense_seen = False
        with torch.no_grad():
            for layer, (kernel, bias) in zip(targets, problem.layers, strict=True):
                if layer.weight.ndim == 4:
                    weight = kernel.transpose(3, 2, 0, 1)
                else:
                    if flattened and not dense_seen:
                        kernel = (
                            kernel.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(-1, kernel.shape[-1])
                        )
                    weight, dense_seen = kernel.T, True
                layer.weight.copy_(torch.tensor(np.ascontiguousarray(weight)))
                layer.bias.copy_(torch.tensor(bias))
        inputs = [torch.tensor(x.transpose(0, 3, 1, 2).copy() if images else x) for x in problem.inputs]
        if channels_last:
            module = module.to(memory_format=torch.channels_last)
            inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
        labels = [torch.tensor(y, dtype=torch.int64) for y in problem.labels]
        settings: dict[str, Any] = {"lr": problem.learning_rate} | ({"fused": True} if fused else {})
        if problem.optimizer == "adam":
            optimizer = torch.optim.Adam(module.parameters(), **settings)
        else:
            optimizer = torch.optim.SGD(module.parameters(), momentum=0.9, **settings)
        taken = 0

        def run(units: int) -> float:
            nonlocal taken
            losses = []
            for _ in range(units):
                i = taken % len(inputs)
                optimizer.zero_grad()
                loss = functional.cross_entropy(module(inputs[i]), labels[i])
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                taken += 1
            return torch.stack(losses).mean().item()

        return run

    form = ["channels_last" if channels_last else "NCHW"] * images + ["fused"] * fused
    return Side(f"torch ({', '.join(form)})" if form else "torch", build, needs=("torch",))


def import_keras() -> Any:
    """Keras on its JAX backend, which it chooses when it is imported.

    Raises:
      RuntimeError: it was imported before, on another backend.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    if keras.backend.backend() != "jax":
        raise RuntimeError(f"keras runs on {keras.backend.backend()}, wanted jax: set KERAS_BACKEND=jax")
    return keras


def keras(net: Callable[[], Any], problem: Problem) -> Side:
    """Keras 3 on JAX: compile and fit, an epoch as long as the block.

    Args:
      net: makes the `keras.Model`; its weights are replaced.
      problem: what is trained.
    """
    num_batches, batch_size = problem.labels.shape

    def build() -> Run:
        keras = import_keras()
        model = net()
        model.set_weights([array for layer in problem.layers for array in layer])
        if problem.optimizer == "adam":
            optimizer = keras.optimizers.Adam(problem.learning_rate, epsilon=1e-8)
        else:
            optimizer = keras.optimizers.SGD(problem.learning_rate, momentum=0.9)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        inputs, labels = problem.inputs.reshape(-1, *problem.inputs.shape[2:]), problem.labels.reshape(-1)
        taken = 0

        def run(units: int) -> float:
            nonlocal inputs, labels, taken
            start = taken % num_batches * batch_size
            stop = start + units * batch_size
            while len(labels) < stop:
                inputs, labels = np.concatenate([inputs] * 2), np.concatenate([labels] * 2)
            history = model.fit(
                inputs[start:stop], labels[start:stop], batch_size, epochs=1, verbose=0, shuffle=False
            )
            taken += units
            return history.history["loss"][-1]

        return run

    return Side("keras", build, needs=("keras",))

"""A population: the same MLP under many learning rates, one program or one after the other."""

import itertools
from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.machine import cores
from benchmarks.measure import Row, Run, Side, Target


def row(
    num_rates: int = 64, steps: int = 200, hidden: tuple[int, ...] = (128, 64), batch_size: int = 128
) -> Row:
    """An MLP on the embedded handwritten digits, plain SGD at rates from 0.001 to 0.3.

    Args:
      num_rates: nets trained, geometrically spaced rates.
      steps: updates of each net; batches follow the data's order and wrap around.
      hidden: units by layer.
      batch_size: examples per step.
    """
    rates = np.geomspace(1e-3, 0.3, num_rates).astype(np.float32)
    sizes = (64, *hidden, 10)
    layers = supervised.random_layers(np.random.default_rng(0), list(itertools.pairwise(sizes)), gain=2.0)

    def batches() -> tuple[np.ndarray, np.ndarray]:
        from jaxdl import data

        digits = data.digits("train")
        index = np.arange(steps * batch_size).reshape(steps, batch_size) % len(digits["label"])
        image = (digits["image"].reshape(-1, 64) / 16).astype(np.float32)
        return image[index], digits["label"][index].astype(np.int32)

    def ours(*, together: bool) -> Side:
        def build() -> Run:
            import jax

            from jaxdl import loops, losses, optim
            from jaxdl.models.dense import MLP
            from jaxdl.objectives import classification
            from jaxdl.train import backprop, create_train_state, make_update

            model = MLP(hidden, 10)
            images, labels = batches()
            stacked = jax.device_put({"image": images, "label": labels})
            first = supervised.placed(model, images[0], layers, train=True)
            grad_fn = backprop(classification(model, losses.softmax_cross_entropy_with_integer_labels))

            def train(rate: Any, params: Any, key: Any, stacked: Any):
                tx = optim.sgd(rate)
                state = create_train_state(key, {"params": params}, tx)
                state, metrics = loops.scan(make_update(grad_fn, tx), state, stacked)
                return state.params, metrics["loss"]

            key = jax.random.key(0)
            train = jax.jit(jax.vmap(train, in_axes=(0, None, None, None)) if together else train)

            def run(units: int) -> Any:
                if together:
                    _, loss = jax.block_until_ready(train(jax.numpy.asarray(rates), first, key, stacked))
                    return np.asarray(loss)[:, -1]
                last = [train(rate, first, key, stacked)[1][-1] for rate in rates[: units // steps]]
                return np.asarray(jax.device_get(last))

            return run

        if together:
            return Side(f"jaxdl ({num_rates} at once)", build, quantum=steps * num_rates)
        return Side("jaxdl (one by one)", build, quantum=steps)

    def torch() -> Side:
        def build() -> Run:
            import torch
            from torch import nn
            from torch.nn import functional

            torch.set_num_threads(cores())
            images, labels = batches()
            inputs = [torch.tensor(image) for image in images]
            targets = [torch.tensor(label, dtype=torch.int64) for label in labels]

            def run(units: int) -> Any:
                losses = []
                for rate in rates[: -(-units // steps)]:
                    modules = []
                    for kernel, bias in layers:
                        dense = nn.Linear(*kernel.shape)
                        with torch.no_grad():
                            dense.weight.copy_(torch.tensor(kernel.T.copy()))
                            dense.bias.copy_(torch.tensor(bias))
                        modules += [dense, nn.ReLU()]
                    net = nn.Sequential(*modules[:-1])
                    optimizer = torch.optim.SGD(net.parameters(), float(rate))
                    loss: Any = None
                    for image, label in zip(inputs[:units], targets):
                        optimizer.zero_grad()
                        loss = functional.cross_entropy(net(image), label)
                        loss.backward()
                        optimizer.step()
                    losses.append(loss.item())
                return np.asarray(losses)

            return run

        return Side("torch (one by one)", build, needs=("torch",))

    together = ours(together=True)
    return Row(
        name="learning_rates",
        trains=f"MLP {'-'.join(map(str, sizes))} on the digits, batch {batch_size}, SGD, {steps} steps of "
        f"{num_rates} learning rates",
        sides=(together, ours(together=False), torch()),
        targets=(
            Target(
                "one program faster than PyTorch one by one",
                "torch (one by one)",
                together.name,
                at_least=1.0,
            ),
        ),
        units=num_rates * steps,
        whole=True,
        tolerance=2e-2,
    )

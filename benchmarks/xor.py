"""XOR by a 2-4-1 net: many tiny steps, where the cost of a step is all overhead.

Half squared error summed over the four rows, sigmoid units, N(0, 1) weights, zero biases, gradient descent.
"""

from typing import Any

import numpy as np

from benchmarks import supervised
from benchmarks.machine import cores
from benchmarks.measure import Row, Run, Side, Target

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [1], [1], [0]], np.float32)
LEARNING_RATE = 0.1


def _layers(seed: int) -> tuple[supervised.Layer, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        (rng.normal(size=shape).astype(np.float32), np.zeros(shape[1], np.float32))
        for shape in ((2, 4), (4, 1))
    )


def _training(epochs: int):
    """This library's whole run as one pure function of the first weights; returns the last loss."""
    import jax

    from jaxdl import loops, optim
    from jaxdl.rules import manual_backprop
    from jaxdl.train import create_train_state, make_update

    tx = optim.gradient_descent(LEARNING_RATE)
    update = make_update(manual_backprop(), tx)

    def train(params: Any, key: Any, batch: Any):
        def epoch(state, _):
            state, metrics = update(state, batch)
            return state, metrics["loss"]

        state, loss = loops.scan(epoch, create_train_state(key, {"params": params}, tx), length=epochs)
        return state.params, jax.numpy.asarray(loss)  # the learning curve is part of the work

    return train


def _jaxdl(epochs: int, seeds: int | None = None) -> Side:
    name = "jaxdl" if seeds is None else "jaxdl (one seed)" if seeds == 1 else f"jaxdl ({seeds} seeds)"

    def build() -> Run:
        import jax

        def params(seed: int):
            return {
                f"Dense_{i}": {"kernel": kernel, "bias": bias}
                for i, (kernel, bias) in enumerate(_layers(seed))
            }

        batch = jax.device_put({"x": X, "y": Y})
        train = _training(epochs)
        if seeds is None or seeds == 1:
            first = jax.device_put(params(0))
            keys = jax.random.key(0)
        else:
            first = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *map(params, range(seeds)))
            keys = jax.random.split(jax.random.key(0), seeds)
            train = jax.vmap(train, in_axes=(0, 0, None))
        train = jax.jit(train)

        def run(units: int) -> float:
            loss: Any = None
            for _ in range(units // epochs):
                _, loss = jax.block_until_ready(train(first, keys, batch))
            return float(np.asarray(loss).reshape(-1, epochs)[0, -1])  # of seed 0

        return run

    return Side(name, build, quantum=epochs)


def _flax(epochs: int, *, scanned: bool) -> Side:
    def build() -> Run:
        import jax
        import jax.numpy as jnp
        import optax
        from flax import linen
        from flax.training.train_state import TrainState

        class Net(linen.Module):
            @linen.compact
            def __call__(self, x):
                return linen.sigmoid(linen.Dense(1)(linen.sigmoid(linen.Dense(4)(x))))

        net = Net()
        x, y = jax.device_put((X, Y))
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
        tx = optax.sgd(LEARNING_RATE)

        def train_step(state, x, y):
            def loss_fn(params):
                return 0.5 * jnp.sum(jnp.square(state.apply_fn({"params": params}, x) - y))

            loss, grads = jax.value_and_grad(loss_fn)(state.params)
            return state.apply_gradients(grads=grads), loss

        step = jax.jit(train_step, donate_argnums=0)
        train = jax.jit(
            lambda state, x, y: jax.lax.scan(lambda s, _: train_step(s, x, y), state, length=epochs),
            donate_argnums=0,
        )

        def run(units: int) -> float:
            params = jax.tree.map(jnp.asarray, supervised.place(shapes, _layers(0)))
            state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)
            loss: Any = None
            if scanned:
                state, loss = train(state, x, y)
            else:
                for _ in range(units):
                    state, loss = step(state, x, y)
            jax.block_until_ready(state)
            return float(np.ravel(loss)[-1])

        return run

    return Side("flax (one scan)", build, quantum=epochs) if scanned else Side("flax", build)


def _torch() -> Side:
    def build() -> Run:
        import torch
        from torch import nn

        torch.set_num_threads(cores())
        x, y = torch.tensor(X), torch.tensor(Y)

        def run(units: int) -> float:
            net: Any = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
            with torch.no_grad():
                for layer, (kernel, bias) in zip((net[0], net[2]), _layers(0)):
                    layer.weight.copy_(torch.tensor(kernel.T.copy()))
                    layer.bias.copy_(torch.tensor(bias))
            optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE)
            loss: Any = None
            for _ in range(units):
                optimizer.zero_grad()
                loss = 0.5 * (net(x) - y).square().sum()
                loss.backward()
                optimizer.step()
            return loss.item()

        return run

    return Side("torch", build, needs=("torch",))


def _keras() -> Side:
    def build() -> Run:
        keras = supervised.import_keras()
        net = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(4, "sigmoid"), keras.layers.Dense(1, "sigmoid")]
        )
        # Keras averages over the four rows; half their sum is twice that.
        net.compile(keras.optimizers.SGD(LEARNING_RATE), lambda y, o: 2 * keras.ops.square(o - y))

        def run(units: int) -> float:
            net.set_weights([array for layer in _layers(0) for array in layer])
            x, y = np.tile(X, (units, 1)), np.tile(Y, (units, 1))
            net.fit(x, y, batch_size=4, epochs=1, verbose=0, shuffle=False)
            return float(net.evaluate(X, Y, batch_size=4, verbose=0))

        return run

    return Side("keras", build, needs=("keras",))


def row(epochs: int = 10_000) -> Row:
    """Ten thousand full-batch epochs, here in one program, elsewhere in a Python loop."""
    return Row(
        name="xor",
        trains=f"XOR, 2-4-1 sigmoid, gradient descent, {epochs:,} epochs from first to last",
        sides=(
            _jaxdl(epochs),
            _flax(epochs, scanned=True),
            _flax(epochs, scanned=False),
            _torch(),
            _keras(),
        ),
        targets=(
            Target("80 times the speed of PyTorch's loop", "torch", "jaxdl", at_least=80),
            Target("never slower than plain Flax, within 3 %", "flax (one scan)", "jaxdl", at_least=0.97),
        ),
        unit="epoch",
        units=epochs,
        whole=True,
        tolerance=1e-2,
    )


def seeds_row(epochs: int = 10_000, seeds: int = 100) -> Row:
    """One vmapped program for all seeds against the program for one."""
    one, many = _jaxdl(epochs, 1), _jaxdl(epochs, seeds)
    return Row(
        name="xor_seeds",
        trains=f"XOR, 2-4-1 sigmoid, {epochs:,} epochs: {seeds} seeds in one vmapped program",
        sides=(one, many),
        targets=(
            Target(f"{seeds} seeds in at most 6 times the time of one", many.name, one.name, at_most=6),
        ),
        unit="epoch",
        units=epochs,
        whole=True,
        tolerance=1e-2,
    )

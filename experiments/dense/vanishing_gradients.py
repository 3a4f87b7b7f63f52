"""Ten sigmoid layers learn only the base rate; ReLU, batch norm or skip connections each cure it: at least 88 %.

    python -m experiments.dense.vanishing_gradients

Data: synthetic, 8,000 credit applications of 18 standardised columns, a quarter held out (data.credit_applications; the
best possible accuracy is 93 %).

Every net has ten hidden layers of ten units and the same number of updates of gradient descent with momentum. The
derivative of the sigmoid is at most 1/4, so the gradient shrinks by more than that in each layer on its way back, and
the first layers stay as they were drawn. The answer is then the same for every row; the best such answer, the share
of approved applications, costs the entropy of that share. A fifth net, no cure of the gradient, takes Adam: it divides
each gradient by its own size, however small, and escapes in the end, later than the others.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from experiments.classification import fresh_state
from experiments.nets import UPDATES_PER_CALL, num_calls, train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.objectives import classification, classification_metrics
from jaxdl.types import Array

STUCK = Claim("held-out cross-entropy of the deep sigmoid net, in percent of the base rate's entropy", 97.0)
CURED = Claim("held-out accuracy of the worst of the three cures, in percent", 88.0)
RATIO = Claim("first layer's gradient over the last one's at the start, ReLU over sigmoid", 1e4)


class DeepNet(linen.Module):
    """`depth` hidden layers of `width` units and a layer of two logits.

    h <- f(norm(h W + b)) (+ h where that is asked for)
    """

    depth: int
    width: int
    activation: Callable[[Array], Array]
    kernel_init: Callable = nn.glorot_uniform()
    batch_norm: bool = False
    residual: bool = False

    @linen.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps float [B, D] to logits [B, 2]."""
        for i in range(self.depth):
            z = nn.Dense(self.width, kernel_init=self.kernel_init)(x)
            if self.batch_norm:
                z = nn.BatchNorm()(z, train=train)
            z = self.activation(z)
            x = x + z if self.residual and i > 0 else z
        return nn.Dense(2)(x)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    depth: int = 10
    """Hidden layers."""
    width: int = 10
    """Units of each."""
    num_rows: int = 8000
    """Applications, a quarter of them held out."""
    num_epochs: int = 40
    """Passes over the other three quarters."""
    batch_size: int = 32
    """Rows per update."""
    learning_rate: float = 0.05
    """Rate of gradient descent with momentum 0.9, at the start; it follows a cosine to 0."""
    adam_rate: float = 1e-3
    """Adam's rate."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", depth=3, num_rows=400, num_epochs=2),
    "full": Config(preset="full", num_rows=20_000),
}


CURES = ("ReLU", "sigmoid, batch norm", "sigmoid, residual")


def nets(config: Config) -> dict[str, DeepNet]:
    """The deep sigmoid net, its three cures, and itself again for Adam, by name."""
    size = {"depth": config.depth, "width": config.width}
    return {
        "sigmoid": DeepNet(**size, activation=nn.sigmoid),
        "ReLU": DeepNet(**size, activation=nn.relu, kernel_init=nn.he_normal()),
        "sigmoid, batch norm": DeepNet(**size, activation=nn.sigmoid, batch_norm=True),
        "sigmoid, residual": DeepNet(**size, activation=nn.sigmoid, residual=True),
        "sigmoid, Adam": DeepNet(**size, activation=nn.sigmoid),
    }


def read_data(config: Config) -> tuple[dict, dict]:
    """Training and held-out rows; the scaling is fitted on the training rows."""
    table = data.credit_applications(jax.random.key(config.seed), config.num_rows)
    table = {"image": np.asarray(table["x"]), "label": np.asarray(table["y"])}
    training, held_out = data.train_test_split(table, test_size=0.25, seed=config.seed, stratify="label")
    scale = data.standardize(training["image"])
    return {**training, "image": scale(training["image"])}, {**held_out, "image": scale(held_out["image"])}


def main(config: Config) -> int:
    """Trains the four nets on the same rows and compares gradients, losses and accuracies."""
    training, held_out = read_data(config)
    run = Run("dense.vanishing_gradients", config)
    share = float(np.mean(training["label"]))
    # What the best constant answer costs on the held-out rows, in nats.
    base = -np.mean(np.where(held_out["label"] == 1, np.log(share), np.log1p(-share)))
    test_batches = data.Batches(held_out, len(held_out["label"]), shuffle=False, num_epochs=1)
    loss = losses.softmax_cross_entropy_with_integer_labels
    updates = UPDATES_PER_CALL * num_calls(config.num_epochs, len(training["label"]), config.batch_size)
    descent = optim.momentum(optim.cosine_decay(config.learning_rate, updates), decay=0.9)
    rows, flow, curves, results = [], {}, {}, {}
    for name, model in nets(config).items():
        tx = optim.adam(config.adam_rate) if name == "sigmoid, Adam" else descent
        objective, measure = classification(model, loss), classification_metrics(model, loss)

        def gradients(state, objective=objective):
            whole = {name: jnp.asarray(values) for name, values in training.items()}
            grads = jax.grad(objective, has_aux=True)(state.params, state.model_state, whole, state.key)[0]
            return [grads[f"Dense_{i}"]["kernel"] for i in range(config.depth + 1)]

        state = fresh_state(config, model, tx, config.seed, training["image"].shape[1:])
        before = {f"layer {i}": gradient for i, gradient in enumerate(jax.jit(gradients)(state), start=1)}
        flow[name] = {layer: float(jnp.linalg.norm(g)) for layer, g in before.items()}
        if name in ("sigmoid", "ReLU"):
            run.figure(f"gradients_{name}", lambda: viz.weight_histograms(before))  # noqa: B023
        state, history = train_net(
            run,
            name.replace(", ", "-").replace(" ", "-"),
            state,
            objective,
            tx,
            training,
            num_epochs=config.num_epochs,
            batch_size=config.batch_size,
        )
        result = results[name] = train.evaluate(measure, state.params, state.model_state, test_batches)
        curves |= {f"{name}/{metric}": history[metric] for metric in ("loss", "accuracy")}
        norms = list(flow[name].values())
        rows.append(
            {
                "net": name,
                "test accuracy %": 100 * result["accuracy"],
                "test loss": result["loss"],
                "% of base rate's": 100 * result["loss"] / base,
                "first gradient": norms[0],
                "first / last": norms[0] / norms[-1],
                "seconds": history.last("seconds"),
            }
        )
    run.console.print(f"the base rate alone costs {base:.4f} nats on the held-out rows")
    run.figure("learning_curves", lambda: viz.learning_curves(curves))
    del flow["sigmoid, Adam"]  # the same net as the first before training
    run.figure("gradient_flow", lambda: viz.gradient_flow(flow))
    cures = [results[name]["accuracy"] for name in CURES]
    ratio = {row["net"]: row["first / last"] for row in rows}
    return run.finish(
        [
            (STUCK, float(100 * results["sigmoid"]["loss"] / base)),
            (CURED, 100 * min(cures)),
            (RATIO, ratio["ReLU"] / ratio["sigmoid"]),
        ],
        rows,
        try_next=[
            "python -m experiments.dense.vanishing_gradients --depth=3",
            "python -m experiments.dense.exploding_gradients",
        ],
    )


if __name__ == "__main__":
    launch(main, PRESETS)

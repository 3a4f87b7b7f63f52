"""Backpropagation through windows shorter than a lag of 8 does not learn it; twice the lag does, to at least 99 %.

    python -m experiments.sequence.truncated_bptt

Data: synthetic, streams of 96 fair bits; at every step the bit of 8 steps before is asked for. 512 streams to learn
from, 128 held out.

A GRU carries its state from window to window, and gradients stop at the windows' borders. Each window length is trained
with an update for each window, and with the gradients of all windows accumulated to one update; how many updates that
makes is in the table.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.types import Array

LEARNT = Claim("held-out bits right with windows of twice the lag and an update for each, in percent", 99.0)
NOT_LEARNT = Claim(
    "held-out bits right with windows of half the lag, the better of both forms, in percent", 75.0, "lower"
)
WHOLE = Claim("held-out bits right with the whole stream as one window, in percent", 99.0)
LAG, LENGTH = 8, 96


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    windows: tuple[int, ...] = (2, 4, 8, 16, 32, 96)
    """Steps that a gradient reaches back, at most; 4, 16 and 96 must be among them."""
    hidden: int = 32
    """Units of the GRU."""
    num_epochs: int = 60
    """Passes over the streams."""
    batch_size: int = 32
    """Streams per step."""
    learning_rate: float = 5e-3
    """Adam's rate."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", windows=(4, 16, 96), num_epochs=1),
    "full": Config(preset="full", num_epochs=400),
}


class Recaller(linen.Module):
    """A GRU over bits with one logit for each step, from a carry and to a carry."""

    hidden: int

    @linen.compact
    def __call__(self, x: Array, carry: Array) -> tuple[Array, Array]:
        """Maps bits float [B, T, 1] and the carry [B, H] to the next carry and logits [B, T]."""
        carry, h = nn.RNN(nn.GRUCell(self.hidden))(x, initial_carry=carry)
        return carry, nn.Dense(1)(h)[..., 0]


def streams(seed: int, count: int) -> dict[str, np.ndarray]:
    """Bits, and those of LAG steps before; the first LAG are not asked for."""
    bits = np.random.default_rng(seed).integers(0, 2, (count, LENGTH)).astype(np.float32)
    asked = np.broadcast_to(np.arange(LENGTH) >= LAG, bits.shape)
    return {"x": bits[..., None], "y": np.roll(bits, LAG, axis=1), "asked": np.ascontiguousarray(asked)}


def train_windows(
    run: Run, window: int, accumulate: bool, training: dict, held_out: dict
) -> tuple[dict, tuple]:
    """Trains one net; its table row, and its curve."""
    config = run.config
    model = Recaller(config.hidden)

    def objective(params, model_state, batch, key):
        del key
        outputs: Any = model.apply({"params": params}, batch["x"], model_state["carry"])
        carry, logits = outputs
        loss = losses.sigmoid_binary_cross_entropy(logits, batch["y"], where=batch["asked"])
        asked = jnp.maximum(jnp.sum(batch["asked"]), 1)
        right = jnp.sum(((logits > 0) == (batch["y"] > 0.5)) & batch["asked"])
        return jnp.sum(loss) / asked, ({"carry": carry}, {"accuracy": right / asked})

    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    carry = jnp.zeros((config.batch_size, config.hidden))
    params = model.init(init_key, training["x"][:1], carry[:1])["params"]
    tx = optim.adam(config.learning_rate)
    state = train.create_train_state(train_key, {"params": params, "carry": carry}, tx)
    step = train.make_truncated_bptt_step(train.backprop(objective), tx, window=window, accumulate=accumulate)
    epoch = len(training["x"]) // config.batch_size

    def recalled(state):
        start = jnp.zeros((len(held_out["x"]), config.hidden))
        _, (_, metrics) = objective(state.params, {"carry": start}, held_out, None)
        return {"accuracy": metrics["accuracy"]}

    state, history = run.fit(
        jax.jit(step, donate_argnums=0),
        state,
        data.Batches(training, config.batch_size, seed=config.seed),
        num_steps=config.num_epochs * epoch,
        part=f"window-{window}" + "-accumulated" * accumulate,
        hooks=[train.make_evaluation(jax.jit(recalled), every=epoch)],
        log_every=epoch,
        progress="epoch",
    )
    windows = -(-LENGTH // min(window, LENGTH))
    return {
        "window": window,
        "updates": "accumulated" if accumulate else "each window",
        "of them": config.num_epochs * epoch * (1 if accumulate else windows),
        "held-out accuracy %": 100 * history.last("validation/accuracy"),
        "train loss": history.last("loss"),
        "seconds": history.last("seconds"),
    }, history["validation/accuracy"]


def main(config: Config) -> int:
    """Trains a net for each window, in both forms."""
    if not {LAG // 2, 2 * LAG, LENGTH} <= set(config.windows):
        raise ValueError(f"windows must hold {LAG // 2}, {2 * LAG} and {LENGTH}, got {config.windows}")
    training, held_out = streams(config.seed, 512), streams(config.seed + 1, 128)
    run = Run("sequence.truncated_bptt", config)
    rows, curves, accuracy = [], {}, {}
    for window in config.windows:
        for accumulate in (False, True)[: 1 if window >= LENGTH else 2]:
            row, curve = train_windows(run, window, accumulate, training, held_out)
            rows.append(row)
            accuracy[window, accumulate] = row["held-out accuracy %"]
            if not accumulate:
                curves[f"window {window}/accuracy"] = curve
    run.figure("accuracy", lambda: viz.learning_curves(curves))
    short = LAG // 2
    return run.finish(
        [
            (LEARNT, accuracy[2 * LAG, False]),
            (NOT_LEARNT, max(accuracy[short, False], accuracy[short, True])),
            (WHOLE, accuracy[LENGTH, False]),
        ],
        rows,
        try_next=["python -m experiments.sequence.long_gap"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)

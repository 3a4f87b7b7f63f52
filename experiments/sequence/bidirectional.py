"""Whether an apple is a fruit or a firm is said later in the sentence: only a net that reads both ways knows, >= 99 %.

    python -m experiments.sequence.bidirectional

Data: synthetic, sentences of 4 to 12 words with the word "apple" in them, behind it at any distance one word that
decides its meaning, fillers elsewhere, and padding; 4,000 to learn from, 1,000 held out.

Three nets label the word: one that sees the word alone, a GRU that reads forward, and one that reads in both
directions. The first two cannot do better than chance, whatever their training. As a control the same three with the
deciding word in front, where the forward net knows too.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from experiments.nets import train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, create_state, launch
from jaxdl import data, losses, nn, optim, train, viz
from jaxdl.objectives import classification, classification_metrics
from jaxdl.types import Array

BOTH = Claim("held-out apples read correctly in both directions, in percent", 99.0)
CHANCE = Claim("held-out apples read correctly by the better of the other two, in percent", 56.0, "lower")
CONTROL = Claim("the same by the forward net where the deciding word comes first, in percent", 99.0)

FRUIT = ("pie", "tree", "juice", "sweet", "orchard", "peel")
FIRM = ("shares", "phone", "profit", "store", "lawyers", "software")
FILLER = ("the", "a", "was", "very", "new", "big", "and", "then", "they", "said", "again", "today")
WORDS = ("<pad>", "apple", *FRUIT, *FIRM, *FILLER)
APPLE = 1


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    hidden: int = 16
    """Units of each recurrent layer."""
    num_sentences: int = 5000
    """A fifth of them held out."""
    num_epochs: int = 15
    """Passes over the other four fifths."""
    batch_size: int = 64
    """Sentences per update."""
    learning_rate: float = 5e-3
    """Adam's rate."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_sentences=400, num_epochs=1),
    "full": Config(preset="full", num_sentences=50_000),
}


def sentences(seed: int, count: int, decided: Literal["behind", "in front"]) -> dict[str, np.ndarray]:
    """Word numbers int32 [N, 12], 0 behind the end, and labels int32 [N]: 0 fruit, 1 firm."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((count, 12), np.int32), rng.integers(0, 2, count).astype(np.int32)
    for row, label in zip(x, y):
        length = rng.integers(4, 13)
        row[:length] = rng.integers(WORDS.index(FILLER[0]), len(WORDS), length)
        first, second = np.sort(rng.choice(length, 2, replace=False))
        apple, cue = (first, second) if decided == "behind" else (second, first)
        row[apple] = APPLE
        row[cue] = WORDS.index(rng.choice((FRUIT, FIRM)[label]))
    return {"tokens": x, "label": y}


class Reader(linen.Module):
    """Embeds the words, runs over them, and says two logits at the apple."""

    hidden: int
    direction: Literal["none", "forward", "both"]

    @linen.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        """Maps word numbers int [B, T] to logits [B, 2]."""
        mask = tokens != 0
        h = nn.Embed(len(WORDS), self.hidden)(tokens)
        if self.direction == "forward":
            _, h = nn.RNN(nn.GRUCell(self.hidden))(h, mask=mask)
        elif self.direction == "both":
            layers = nn.RNN(nn.GRUCell(self.hidden)), nn.RNN(nn.GRUCell(self.hidden))
            _, h = nn.Bidirectional(*layers)(h, mask=mask)
        else:
            h = nn.relu(nn.Dense(self.hidden)(h))
        at_apple = jnp.argmax(tokens == APPLE, axis=1)
        return nn.Dense(2)(jnp.take_along_axis(h, at_apple[:, None, None], axis=1)[:, 0])


def main(config: Config) -> int:
    """Trains the three nets on both kinds of sentences."""
    run = Run("sequence.bidirectional", config)
    rows, curves, accuracy = [], {}, {}
    for decided in ("behind", "in front"):
        table = sentences(config.seed, config.num_sentences, decided)
        training, held_out = data.train_test_split(table, test_size=0.2, seed=config.seed, stratify="label")
        for direction in ("none", "forward", "both"):
            model = Reader(config.hidden, direction)
            loss = losses.softmax_cross_entropy_with_integer_labels
            tx = optim.adam(config.learning_rate)
            init_key, train_key = jax.random.split(jax.random.key(config.seed))
            variables = model.init(init_key, training["tokens"][:1], train=False)
            measure = classification_metrics(model, loss, inputs="tokens")
            batches = data.Batches(held_out, len(held_out["label"]), shuffle=False, num_epochs=1)
            look = lambda state: train.evaluate(measure, state.params, state.model_state, batches)  # noqa: B023
            name = {"none": "word alone", "forward": "forward", "both": "both directions"}[direction]
            state, history = train_net(
                run,
                f"{name}-{decided}".replace(" ", "-"),
                create_state(train_key, variables, tx, config),
                classification(model, loss, inputs="tokens"),
                tx,
                training,
                num_epochs=config.num_epochs,
                batch_size=config.batch_size,
                look=look,
            )
            accuracy[direction, decided] = 100 * look(state)["accuracy"]
            if decided == "behind":
                curves |= {f"{name}/validation/{m}": history[f"validation/{m}"] for m in ("loss", "accuracy")}
            rows.append(
                {
                    "net": name,
                    "deciding word": decided,
                    "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
                    "held-out accuracy %": accuracy[direction, decided],
                    "seconds": history.last("seconds"),
                }
            )
    run.figure("learning_curves", lambda: viz.learning_curves(curves))
    run.console.print(
        "for example: " + " ".join(WORDS[i] for i in held_out["tokens"][0] if i), highlight=False
    )
    return run.finish(
        [
            (BOTH, accuracy["both", "behind"]),
            (CHANCE, max(accuracy["none", "behind"], accuracy["forward", "behind"])),
            (CONTROL, accuracy["forward", "in front"]),
        ],
        rows,
        try_next=["python -m experiments.sequence.long_gap"],
    )


if __name__ == "__main__":
    launch(main, PRESETS)

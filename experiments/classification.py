"""What the experiments that classify images share."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run import Run, Settings, create_state
from jaxdl import data, metrics, train, viz


def logits_of(model: Any) -> Callable[[Any, Any, Mapping[str, Any]], Any]:
    """`(params, model_state, batch) -> logits` of a model of images."""
    return lambda params, model_state, batch: model.apply(
        {"params": params, **model_state}, batch["image"], train=False
    )


def fresh_state(config: Settings, model: Any, tx: Any, seed: int, shape: Sequence[int]) -> train.TrainState:
    """The state of one seed before training, for images of this shape."""
    init_key, train_key = jax.random.split(jax.random.key(seed))
    variables = jax.jit(partial(model.init, train=False))(init_key, jnp.zeros((1, *shape)))
    return create_state(train_key, variables, tx, config)


def draw_classifier(
    run: Run,
    model: Any,
    state: train.TrainState,
    held_out: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    batch_size: int,
) -> None:
    """Confusion matrix, and the held-out images that are read wrongly or with the least conviction."""
    # Each of several processes looks at all images: it is one figure, not a share of one.
    batches = data.Batches(
        held_out, batch_size, shuffle=False, num_epochs=1, process_index=0, process_count=1
    )
    prediction = train.predict(logits_of(model), state.params, state.model_state, batches)
    truth, images = held_out["label"], held_out["image"]
    matrix = np.asarray(metrics.confusion_matrix(prediction.labels, truth, num_classes=len(class_names)))
    run.figure("confusion_matrix", lambda: viz.confusion_matrix_plot(matrix, class_names=class_names))
    # The wrong ones with the most conviction first, then the right ones with the least.
    probability = prediction.probabilities.max(axis=1)
    right = prediction.labels == truth
    hardest = np.argsort(np.where(right, 1 + probability, 1 - probability))[:25]
    titles = [
        class_names[truth[i]]
        + ("" if right[i] else f" read as {class_names[prediction.labels[i]]}")
        + f"\np = {probability[i]:.2f}"
        for i in hardest
    ]
    run.figure("misclassified", lambda: viz.image_grid(images[hardest], titles=titles))

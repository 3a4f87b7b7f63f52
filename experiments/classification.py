"""What the experiments that classify images share."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run import Run
from experiments.settings import Settings, compile_step, create_state, estimator
from jaxdl import data, losses, metrics, train, viz
from jaxdl.objectives import classification, classification_metrics
from jaxdl.types import Array, Objective


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


def augmented(objective: Objective, change: Callable[[Array, Array], Array]) -> Objective:
    """The objective on images that `change(key, image)` alters at random, on the device."""

    def changed_objective(params, model_state, batch, key):
        noise_key, key = jax.random.split(key)
        keys = jax.random.split(noise_key, len(batch["label"]))
        batch = {**batch, "image": jax.vmap(change)(keys, batch["image"])}
        return objective(params, model_state, batch, key)

    return changed_objective


def train_seeds(
    run: Run,
    model: Any,
    tx: Any,
    change: Callable[[Array, Array], Array],
    training: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    *,
    evaluate_every: int,
    log_every: int,
    held_out_batch: int,
) -> list[dict[str, Any]]:
    """Trains a net from each of `num_seeds` seeds, draws the first one's pictures, and returns the table's rows.

    The held-out images are looked at for the curves and the result only: nothing is chosen by them.
    """
    config: Any = run.config
    run.console.print(train.summary(model, training["image"][:1], train=False))
    loss = losses.softmax_cross_entropy_with_integer_labels
    step = compile_step(estimator(augmented(classification(model, loss), change), config), tx, config)
    measure = classification_metrics(model, loss)
    test_batches = data.Batches(held_out, held_out_batch, shuffle=False, num_epochs=1)

    def look(state):
        return train.evaluate(measure, state.params, state.model_state, test_batches)

    rows = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        batches = data.Batches(training, config.batch_size, seed=seed)
        state, history = run.fit(
            step,
            fresh_state(config, model, tx, seed, training["image"].shape[1:]),
            data.prefetch_to_device(batches, sharding=step.batch_sharding),
            num_steps=config.num_steps,
            part=f"seed-{seed}",
            hooks=[train.make_evaluation(look, every=evaluate_every, prefix="test/")],
            log_every=log_every,
            progress="epoch",
        )
        result = look(state)
        rows.append(
            {
                "seed": seed,
                "test accuracy %": 100 * result["accuracy"],
                f"wrong of {len(held_out['label'])}": round(
                    len(held_out["label"]) * (1 - result["accuracy"])
                ),
                "test loss": result["loss"],
                "train accuracy %": 100 * history.last("accuracy"),
                "seconds": history.last("seconds"),
                "first step s": history.first_step_seconds,
            }
        )
        if seed == config.seed:
            run.figure("learning_curves", lambda: viz.learning_curves(history))  # noqa: B023 - drawn at once
            run.figure("filters", lambda: viz.filters(state.params["Conv_0"]["kernel"]))  # noqa: B023
            draw_classifier(run, model, state, held_out, class_names, held_out_batch)
    return rows


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

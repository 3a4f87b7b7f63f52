"""Either stands in for the other: our losses take what Optax's take, in the same order, with the same defaults.

That they give the same values and gradients for the same calls is in the tables of the other files.
"""

import inspect

import jax
import numpy as np
import optax
import pytest

from jaxdl import losses

REAL = jax.ShapeDtypeStruct((4, 3), np.float32)
LABELS = jax.ShapeDtypeStruct((4,), np.int32)
MAPS = jax.ShapeDtypeStruct((4, 5, 3), np.float32)
TEXT = tuple(jax.ShapeDtypeStruct(*x) for x in (((4, 9, 3), np.float32), ((4, 9), np.float32)))
WORDS = tuple(jax.ShapeDtypeStruct(*x) for x in (((4, 2), np.int32), ((4, 2), np.float32)))
PAIR = (REAL, REAL)
WHERE = np.ones((4, 3), bool)

# Ours, Optax's, what both are called with, settings that both know.
TWINS = {
    "squared_error": (losses.squared_error, optax.squared_error, PAIR, {}),
    "half_squared_error": (losses.half_squared_error, optax.l2_loss, PAIR, {}),
    "huber": (losses.huber, optax.huber_loss, PAIR, {"delta": 2.0}),
    "log_cosh": (losses.log_cosh, optax.log_cosh, PAIR, {}),
    "cosine_distance": (
        losses.cosine_distance,
        optax.cosine_distance,
        PAIR,
        {"epsilon": 0.1, "where": WHERE},
    ),
    "sigmoid_binary_cross_entropy": (
        losses.sigmoid_binary_cross_entropy,
        optax.sigmoid_binary_cross_entropy,
        PAIR,
        {},
    ),
    "softmax_cross_entropy": (
        losses.softmax_cross_entropy,
        optax.softmax_cross_entropy,
        PAIR,
        {"where": WHERE},
    ),
    "softmax_cross_entropy_with_integer_labels": (
        losses.softmax_cross_entropy_with_integer_labels,
        optax.softmax_cross_entropy_with_integer_labels,
        (REAL, LABELS),
        {"where": WHERE},
    ),
    "focal_loss": (losses.focal_loss, optax.sigmoid_focal_loss, PAIR, {"alpha": 0.3, "gamma": 1.0}),
    "hinge": (losses.hinge, optax.hinge_loss, PAIR, {}),
    "perceptron_loss": (losses.perceptron_loss, optax.losses.perceptron_loss, PAIR, {}),
    "multiclass_hinge": (losses.multiclass_hinge, optax.losses.multiclass_hinge_loss, (REAL, LABELS), {}),
    "kl_divergence": (losses.kl_divergence, optax.kl_divergence, PAIR, {"where": WHERE}),
    "ctc": (losses.ctc, optax.losses.ctc_loss, (*TEXT, *WORDS), {"blank_id": 1}),
    "dice": (losses.dice, optax.losses.dice_loss, (MAPS, MAPS), {"smooth": 0.5, "apply_softmax": True}),
    "tversky": (
        losses.tversky,
        optax.losses.dice_loss,
        (MAPS, MAPS),
        {"smooth": 0.5, "alpha": 0.3, "beta": 0.7, "apply_softmax": True},
    ),
    "triplet": (
        losses.triplet,
        optax.losses.triplet_margin_loss,
        (REAL, *PAIR),
        {"margin": 0.5, "eps": 1e-3},
    ),
    "nt_xent": (losses.nt_xent, optax.losses.ntxent, (REAL, LABELS), {"temperature": 0.5}),
}
OTHER_NAMES = {"predictor_outputs": "scores"}  # theirs: ours


@pytest.mark.parametrize(("ours", "theirs", "arrays", "settings"), TWINS.values(), ids=TWINS)
def test_same_arguments_in_the_same_order(ours, theirs, arrays, settings):
    own, other = (list(inspect.signature(f).parameters.values()) for f in (ours, theirs))
    for mine, their in zip(own[: len(arrays)], other):
        assert mine.name == OTHER_NAMES.get(their.name, their.name)
        assert mine.default is inspect.Parameter.empty
        assert mine.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    own, other = ({p.name: p for p in parameters[len(arrays) :]} for parameters in (own, other))
    known = {name for name in other if name in own}
    assert known == set(settings), "every setting of that name is in the table"
    for name in known:
        assert own[name].default == other[name].default, name
    shapes = [jax.eval_shape(lambda *x, f=f: f(*x, **settings), *arrays).shape for f in (ours, theirs)]
    assert shapes[0] == shapes[1] or theirs is optax.losses.ntxent  # which takes the mean

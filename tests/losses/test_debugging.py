"""Losses that look at their inputs: what they find, and what they leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses

RNG = np.random.default_rng(13)
B, K = 20, 3
LOGITS = RNG.normal(size=(B, K)).astype(np.float32)
LABELS = RNG.integers(0, K, B).astype(np.int32)
ONE_HOT = np.eye(K, dtype=np.float32)[LABELS]
PROBABLE = np.asarray(jax.nn.softmax(LOGITS))
INTEGER = losses.softmax_cross_entropy_with_integer_labels
COUNTS = LABELS.astype(np.float32)


def changed(x, value, place=(4,)):
    x = x.copy()
    x[place] = value
    return x


@pytest.mark.parametrize(
    ("loss", "inputs", "message"),
    [
        pytest.param(INTEGER, (PROBABLE, LABELS), "logits must be what goes into", id="softmax twice"),
        pytest.param(
            INTEGER,
            (PROBABLE.astype(jnp.bfloat16), LABELS),
            "rows in .* that sum to 1",
            id="softmax twice in half",
        ),
        pytest.param(
            losses.softmax_cross_entropy, (ONE_HOT, PROBABLE), "logits must be what goes into", id="swapped"
        ),
        pytest.param(
            losses.sigmoid_binary_cross_entropy,
            (PROBABLE, ONE_HOT),
            r"numbers in \[0, 1\]",
            id="sigmoid twice",
        ),
        pytest.param(
            losses.focal_loss, (PROBABLE, ONE_HOT), "logits must be what goes into", id="focal_loss"
        ),
        pytest.param(losses.distillation, (LOGITS, PROBABLE), "teacher_logits must be what", id="teacher"),
        pytest.param(
            losses.non_saturating_generator, (PROBABLE,), "fake_logits must be what", id="generator"
        ),
        pytest.param(
            losses.binary_cross_entropy,
            (LOGITS, ONE_HOT),
            r"probabilities must be in \[0, 1\], got .* logits\?",
            id="p",
        ),
        pytest.param(
            losses.categorical_cross_entropy, (LOGITS, ONE_HOT), "probabilities must be in", id="rows of p"
        ),
        pytest.param(INTEGER, (LOGITS, changed(LABELS, K)), r"NaN at \(4,\), from labels 3", id="label"),
        pytest.param(
            losses.poisson_nll,
            (LOGITS[:, 0], changed(COUNTS, -1.0)),
            r"NaN at \(4,\), from .*targets -1.0",
            id="count",
        ),
        pytest.param(
            losses.hinge,
            (LOGITS[:, 0], changed(COUNTS * 0 + 1, 0.0)),
            r"NaN at \(4,\), from .*targets 0.0",
            id="sign",
        ),
        pytest.param(
            losses.softmax_cross_entropy,
            (LOGITS, changed(ONE_HOT, 2.0)),
            r"NaN at \(4,\), from its inputs",
            id="one-hot",
        ),
    ],
)
def test_mistakes_in_the_numbers_are_found(loss, inputs, message):
    with pytest.raises(ValueError, match=message):
        losses.checked(loss)(*inputs)


SOME_CLASSES = np.arange(B * K).reshape(B, K) % 4 > 0


@pytest.mark.parametrize(
    ("labels", "where"),
    [
        pytest.param(changed(LABELS, -1), np.arange(B) != 4, id="rows"),
        pytest.param(np.argmax(SOME_CLASSES, axis=-1).astype(np.int32), SOME_CLASSES, id="classes"),
        pytest.param(LABELS, np.ones(B, bool), id="all"),
    ],
)
def test_values_and_gradients_are_those_of_the_loss(labels, where):
    """In a compiled function and under vmap."""

    @jax.jit
    def both(x):
        forms = []
        for loss in (INTEGER, losses.checked(INTEGER)):
            value, pull = jax.vjp(lambda x, loss=loss: loss(x, labels, where), x)
            forms.append((value, pull(jnp.ones_like(value))[0], jax.vmap(loss)(x, labels, where)))
        return forms

    for ours, plain in zip(*both(LOGITS)):
        np.testing.assert_array_equal(ours, plain)


def test_a_mask_hides_mistakes():
    where = np.arange(B) != 4
    labels, x = changed(LABELS, 17), changed(LOGITS, np.nan)
    np.testing.assert_array_equal(losses.checked(INTEGER)(x, labels, where), INTEGER(x, labels, where))
    few = np.arange(B) < 2  # two rows of probabilities are all that counts
    mixed = np.where(few[:, None], PROBABLE, LOGITS)
    losses.checked(INTEGER)(mixed, LABELS)
    with pytest.raises(ValueError, match="rows in"):
        losses.checked(INTEGER)(mixed, LABELS, where=few)


def test_raises_inside_a_compiled_step_and_its_gradient():
    loss = losses.checked(INTEGER)
    step = jax.jit(jax.value_and_grad(lambda w, x: loss(x @ w, LABELS).mean()))
    w = jnp.eye(K)
    assert np.isfinite(step(w, LOGITS)[0])
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="softmax_cross_entropy_with_integer_labels: logits must be"
    ):
        jax.block_until_ready(step(w, PROBABLE))


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        pytest.param(INTEGER, (0 * LOGITS, LABELS), id="a fresh head"),
        pytest.param(
            losses.sigmoid_binary_cross_entropy, (0 * LOGITS, ONE_HOT), id="a fresh head of yes or no"
        ),
        pytest.param(
            losses.sigmoid_binary_cross_entropy, (PROBABLE[:5, 0], ONE_HOT[:5, 0]), id="too few to tell"
        ),
        pytest.param(losses.binary_cross_entropy, (PROBABLE, ONE_HOT), id="probabilities"),
        pytest.param(INTEGER, (changed(LOGITS, np.nan), LABELS), id="a net that has diverged"),
        pytest.param(losses.squared_error, (PROBABLE, ONE_HOT), id="no logits"),
    ],
)
def test_no_false_alarm(loss, inputs):
    np.testing.assert_array_equal(losses.checked(loss)(*inputs), loss(*inputs))


def test_it_looks_like_the_loss_and_takes_keys_and_functions():
    assert losses.checked(INTEGER).__name__ == INTEGER.__name__
    assert losses.checked(INTEGER).__doc__ == INTEGER.__doc__
    penalty = losses.checked(functools.partial(losses.gradient_penalty, lambda x: x.sum(1)))
    value = penalty(LOGITS, -LOGITS, jax.random.key(0))
    np.testing.assert_allclose(value, (np.sqrt(K) - 1) ** 2, rtol=1e-5)

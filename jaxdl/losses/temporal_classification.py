"""Connectionist temporal classification: labels in order, but nobody knows when.

B is the batch, T the frames, K the classes including the blank, N the labels of the longest sequence. A sequence of
N labels stands for S = 2N + 1 states: a blank before, between and after its labels.
"""

import functools

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.losses.masking import check_where, class_indices, poisoned, widened, without
from jaxdl.types import Array, Dtype

_NEVER = -1e30  # the logarithm of 0: unlike minus infinity, it can be subtracted from itself


def _added(a: Array, b: Array, c: Array) -> Array:
    """log(exp a + exp b + exp c)."""
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(a, b), c))
    return largest + jnp.log(jnp.exp(a - largest) + jnp.exp(b - largest) + jnp.exp(c - largest))


def _shifted(x: Array, by: int) -> Array:
    """States moved up by one or two; nothing comes from before the first."""
    edge = [(0, 0)] * (x.ndim - 1) + [(by, 0)]
    return jnp.pad(x, edge, constant_values=_NEVER)[..., : x.shape[-1]]


def _scores(start: Array, emissions: Array, skips: Array, present: Array) -> Array:
    """Log-probability of all paths up to each frame that end in each state, [T, ..., S].

    alpha_t(s) = log(sum of exp alpha_{t-1}(s), (s-1) and, where the label may follow at once, (s-2)) + emission.
    A frame of padding leaves everything as it is.
    """

    def frame(alpha: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        emission, is_present = inputs
        two_back = jnp.where(skips, _shifted(alpha, 2), _NEVER)
        reached = _added(alpha, _shifted(alpha, 1), two_back) + emission
        alpha = jnp.where(is_present, reached, alpha)
        return alpha, alpha

    return jax.lax.scan(frame, start, (emissions, present))[1]


def _lattice(labels: Array, lengths: Array, blank: int, dtype: Dtype) -> tuple[Array, Array, Array, Array]:
    """The class of each state [B, S]; where two states may be climbed at once; the first and the last state."""
    size, number = labels.shape
    blanks = jnp.full((size, number + 1), blank, labels.dtype)
    states = jnp.stack([blanks[:, :-1], labels], axis=2).reshape(size, 2 * number)
    states = jnp.concatenate([states, blanks[:, -1:]], axis=1)
    different = jnp.concatenate([jnp.zeros((size, 1), bool), labels[:, 1:] != labels[:, :-1]], axis=1)
    different = different[:, :number]
    skips = jnp.stack([jnp.zeros_like(different), different], axis=2).reshape(size, 2 * number)
    skips = jnp.concatenate([skips, jnp.zeros((size, 1), bool)], axis=1)
    place = jnp.arange(2 * number + 1)[None, :]
    first = jnp.where(place == 0, 0.0, _NEVER).repeat(size, axis=0).astype(dtype)
    last = jnp.where(place == 2 * lengths[:, None], 0.0, _NEVER).astype(dtype)
    return states, skips, first, last


def _emitted(log_p: Array, states: Array) -> tuple[Array, Array]:
    """The log-probability of each state's class in each frame, [T, B, S], and what was taken off for size."""
    emissions = jnp.take_along_axis(log_p, states[:, None, :], axis=2)
    # Sums over hundreds of frames keep their digits when each frame's best state costs about nothing.
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.max(emissions, axis=2, keepdims=True), _NEVER))
    return jnp.swapaxes(jnp.maximum(emissions - largest, _NEVER), 0, 1), largest[..., 0]


def _total(alpha: Array, last: Array, largest: Array, present: Array) -> Array:
    """Log-probability of all alignments: those that end in the last label or in the blank after it."""
    ends = jnp.maximum(last, jnp.concatenate([last[:, 1:], jnp.full_like(last[:, :1], _NEVER)], axis=1))
    taken = jnp.sum(jnp.where(present, largest, 0), axis=1)
    return jax.nn.logsumexp(alpha + ends, axis=1) + taken


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _log_likelihood(log_p: Array, labels: Array, lengths: Array, present: Array, blank: int) -> Array:
    """The log-probability of each sequence of labels, summed over its alignments, [B]."""
    states, skips, first, last = _lattice(labels, lengths, blank, log_p.dtype)
    emissions, largest = _emitted(log_p, states)
    alpha = _scores(first, emissions, skips, present.T[:, :, None])[-1]
    return _total(alpha, last, largest, present)


@_log_likelihood.defjvp
def _log_likelihood_jvp(blank: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The derivative with respect to a frame's log-probability is how likely the frame is spent in that class, given
    # the labels. Both ways through time run in one loop: backwards is forwards with time and states reversed.
    log_p, labels, lengths, present = primals
    states, skips, first, last = _lattice(labels, lengths, blank, log_p.dtype)
    emissions, largest = _emitted(log_p, states)
    skips_back = jnp.concatenate([skips[:, 2:], jnp.zeros_like(skips[:, :2])], axis=1)[:, ::-1]
    both = _scores(
        jnp.stack([first, last[:, ::-1]]),
        jnp.stack([emissions, emissions[::-1, :, ::-1]], axis=1),
        jnp.stack([skips, skips_back]),
        jnp.stack([present.T, present.T[::-1]], axis=1)[..., None],
    )
    alpha, beta = both[:, 0], both[::-1, 1, :, ::-1]
    # Normalized frame by frame, so that rounding in long sums cancels.
    spent = jax.nn.softmax(alpha + beta - emissions, axis=-1)
    spent = jnp.where(present.T[:, :, None], spent, 0)
    classes = jax.nn.one_hot(states, log_p.shape[-1], dtype=log_p.dtype)
    posterior = jnp.einsum("tbs,bsk->btk", spent, classes, precision="highest")
    change = jnp.einsum("btk,btk->b", posterior, tangents[0], precision="highest")
    return _total(alpha[-1], last, largest, present), change


def ctc(
    logits: Array,
    logit_paddings: Array,
    labels: Array,
    label_paddings: Array,
    where: Array | None = None,
    *,
    blank_id: int = 0,
) -> Array:
    """Negative log-likelihood of a sequence of labels, summed over all its alignments with the frames.

    l = -log sum_path prod_t softmax(x_t)[path_t], over all paths of classes that give the labels once repeats are
    merged and then blanks removed. A label twice in a row needs a blank between.

    All orders of derivative work, forward and reverse; the first is the forward-backward algorithm's posterior.

    Args:
      logits: x, float [B, T, K]; -inf rules a class out.
      logit_paddings: 1 where a frame is padding, 0 elsewhere, float, int or bool [B, T].
      labels: int [B, N], in [0, K) without the blank; padding may hold anything.
      label_paddings: 1 where a label is padding, 0 elsewhere, float, int or bool [B, N]; zeros, then ones.
      where: bool [B], or None for all.
      blank_id: class of the blank.

    Returns:
      Nats for each sequence, float [B]. Infinite, with a NaN gradient, where no alignment is possible: fewer
      frames than labels and repeats (leave those out by `where`). NaN where a label cannot be, or its padding is
      not at the end.

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not fit, or there is no class blank_id.

    Source: Graves, Fernández, Gomez and Schmidhuber, "Connectionist Temporal Classification", 2006, equations 3
    to 8 and 15.
    Differs from optax.losses.ctc_loss, where the impossible costs about 1e5 and a bad label is taken for another;
    from torch.nn.functional.ctc_loss, which takes log-probabilities [T, B, K] and lengths.
    """
    checks.floating(logits=logits)
    checks.integer(labels=labels)
    checks.rank(3, logits=logits)
    checks.rank(2, labels=labels)
    checks.same_leading(logits=logits, labels=labels)
    checks.shape(jnp.shape(logits)[:2], logit_paddings=logit_paddings)
    checks.shape(jnp.shape(labels), label_paddings=label_paddings)
    num_classes = jnp.shape(logits)[2]
    checks.at_least(1, number_of_frames=jnp.shape(logits)[1])
    checks.between(0, num_classes - 1, blank_id=blank_id)
    x, labels = widened(logits), class_indices(labels)
    present, counted = jnp.asarray(logit_paddings) == 0, jnp.asarray(label_paddings) == 0
    if where is not None:
        check_where(where, x.shape[:1])
        x, counted = without(where, x), counted & where[:, None]
    in_order = jnp.all(counted[:, :-1] | ~counted[:, 1:], axis=1)
    real = (labels >= 0) & (labels < num_classes) & (labels != blank_id)
    labels = jnp.where(counted & real, labels, blank_id)
    x = jnp.where(present[..., None], x, 0)
    lengths = jnp.sum(counted, axis=1)
    log_likelihood = _log_likelihood(jax.nn.log_softmax(x), labels, lengths, present, blank_id)
    possible = log_likelihood > _NEVER / 10
    loss = -log_likelihood * jnp.where(possible, 1.0, jnp.inf)
    loss = poisoned(loss, in_order & jnp.all(real | ~counted, axis=1))
    return loss if where is None else jnp.where(where, loss, 0)

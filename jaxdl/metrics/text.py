"""Metrics of text, from tokens.

B sequences, T and S their longest lengths, V the size of the vocabulary. Sequences are given in one of two ways:

- arrays, int [B, T]: a negative number is no token, wherever it stands, so padding and blanks are masked by
  `jnp.where(mask, tokens, -1)`; these work in a traced function;
- lists of strings, split at white space, or of lists of tokens, on the host.
"""

import collections
import functools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.losses.masking import class_indices
from jaxdl.metrics.classification import negative_log_likelihood
from jaxdl.metrics.streaming import Mean, Metric, Parts, counted, no_hits, no_values
from jaxdl.types import Array


@Metric
def perplexity() -> Parts:
    """Among how many equally likely tokens a model is left to guess: the exponential of `log_loss`.

    exp(-(1/N) sum_n log softmax(x_n)[y_n]) over all tokens

        metrics.perplexity(logits, tokens, where=mask)

    `bits_per_character` is the same on a scale of bits; of models with different vocabularies only bits of the
    same text compare.

    Args:
      logits: float [..., V].
      labels: the tokens that came, int [...], in [0, V).
      where: bool [...], which tokens count, or None for all.

    Returns:
      float32[], at least 1, without unit; V of a model that knows nothing. Infinite above e^88, NaN when nothing
      counts or a label is outside [0, V).

    Raises:
      TypeError: logits are not floating point, labels are not integers, or where is not bool.
      ValueError: the shapes do not agree.

    Source: Jelinek, Mercer, Bahl and Baker, "Perplexity: a measure of the difficulty of speech recognition tasks",
    1977.
    """
    return Parts(no_values, negative_log_likelihood, lambda state: jnp.exp(state.value()))


@Metric
def bits_per_character() -> Parts:
    """Mean number of bits that a model, used to compress, spends on a character: `log_loss` over log 2.

    -(1/N) sum_n log2 softmax(x_n)[y_n]

    Each label must be one character, or one byte. With larger tokens multiply by tokens per character.

    Args, Raises: as for `perplexity`.

    Returns:
      Bits, float32[], at least 0; NaN when nothing counts or a label is outside [0, V).
    """
    return Parts(no_values, negative_log_likelihood, lambda state: state.value() / np.log(2))


def edit_distance(predictions: Any, targets: Any) -> Array:
    """Fewest insertions, deletions and substitutions of a token that turn one sequence into the other.

    D[i, j] = min(D[i-1, j] + 1, D[i, j-1] + 1, D[i-1, j-1] + [p_i != t_j]), D[i, 0] = i, D[0, j] = j

        metrics.edit_distance("kitten", "sitting")                                  # 3
        metrics.edit_distance(jnp.where(mask, decoded, -1), tokens)                 # of each of a batch

    Args:
      predictions: int [..., T]; or a string, of characters, or a list of any tokens.
      targets: int [..., S] with the same leading axes; or a string or a list.

    Returns:
      Number of edits, int32 [...]. A row of the table is one step of a scan, so it takes T steps.

    Raises:
      TypeError: arrays are not integers, or only one of the two is an array.
      ValueError: the leading axes differ.

    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966; Wagner and
    Fischer, "The String-to-String Correction Problem", 1974, theorem 2, for the table.
    """
    if not (_is_array(predictions) or _is_array(targets)):
        p, t = _numbered([predictions], [targets])
        return edit_distance(p, t)[0]
    checks.integer(predictions=predictions, targets=targets)
    p, t = class_indices(predictions), class_indices(targets)
    if p.ndim < 1 or p.shape[:-1] != t.shape[:-1]:
        raise ValueError(
            f"predictions and targets must agree in the leading axes, got {p.shape} and {t.shape}"
        )
    return _edits(p, t)


@jax.jit
@functools.partial(jnp.vectorize, signature="(t),(s)->()")
def _edits(p: Array, t: Array) -> Array:
    # What is no token costs nothing: its row repeats the one above, its column the one to the left.
    tokens = (t >= 0).astype(jnp.int32)
    place = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(tokens, dtype=jnp.int32)])
    far = jnp.int32(len(p) + len(t))

    def row(above: Array, token: Array) -> tuple[Array, None]:
        changed = jnp.where(t >= 0, above[:-1] + (t != token), far)
        best = jnp.minimum(jnp.where(t >= 0, above[1:] + 1, far), changed)
        best = jnp.concatenate([above[:1] + 1, best])
        # min over k of best[k] and the insertions from k to j, all j at once.
        best = jax.lax.cummin(best - place) + place
        return jnp.where(token >= 0, best, above), None

    return jax.lax.scan(row, place, p)[0][-1]


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray))


def _split(sequence: str | Sequence[Hashable]) -> Sequence[Hashable]:
    return sequence.split() if isinstance(sequence, str) else sequence


def _numbered(
    predictions: Sequence[Sequence[Hashable]], targets: Sequence[Sequence[Hashable]]
) -> tuple[np.ndarray, np.ndarray]:
    """Arrays [B, T], [B, S] with a number for each token; lengths are powers of two, so few programs serve all."""
    numbers: dict[Hashable, int] = {}

    def rows(sequences: Sequence[Sequence[Hashable]]) -> np.ndarray:
        longest = max([len(tokens) for tokens in sequences], default=1)
        array = np.full((len(sequences), 1 << max(3, (longest - 1).bit_length())), -1, np.int32)
        for row, tokens in zip(array, sequences):
            row[: len(tokens)] = [numbers.setdefault(token, len(numbers)) for token in tokens]
        return array

    return rows(predictions), rows(targets)


@Metric
def word_error_rate() -> Parts:
    """Edits that turn what was recognised into what was said, per word said.

    sum_n edits(p_n, t_n) / sum_n |t_n|

        metrics.word_error_rate(["the cat sat"], ["the cat sat down"])            # 0.25
        metrics.word_error_rate(decoded, tokens)                                  # in a step, -1 where there is none

    With characters for tokens it is the character error rate. Long sentences weigh more than short ones.

    Args:
      predictions: int [B, T]; or a list of strings or of lists of tokens.
      targets: int [B, S]; or a list as long.
      where: bool [B], which sequences count, or None for all.

    Returns:
      float32[], at least 0, and above 1 where more is inserted than was said. Infinite when all targets are empty
      and a prediction is not, NaN when nothing counts.

    Raises:
      TypeError: arrays are not integers, or where is not bool.
      ValueError: there are not as many targets as predictions.
    """

    def measure(predictions: Any, targets: Any, where: Array | None) -> Mean:
        if not (_is_array(predictions) or _is_array(targets)):
            _check_as_many(predictions=predictions, targets=targets)
            predictions, targets = _numbered([*map(_split, predictions)], [*map(_split, targets)])
        checks.rank(2, predictions=predictions, targets=targets)
        edits = edit_distance(predictions, targets)
        chosen = counted(edits.shape, where)
        words = jnp.sum(jnp.asarray(targets) >= 0, axis=1)
        return Mean(
            jnp.sum(edits, where=chosen, dtype=jnp.int32), jnp.sum(words, where=chosen, dtype=jnp.int32)
        )

    return Parts(no_hits, measure, Mean.value)


def _check_as_many(**sequences: Any) -> None:
    (name, first), (other, second) = sequences.items()
    for key, value in sequences.items():
        if isinstance(value, str):
            raise TypeError(f"{key} must be a list of sequences, got one string")
    if len(first) != len(second):
        raise ValueError(f"{other} must be as many as {name}, {len(first)}, got {len(second)}")


class Overlap(NamedTuple):
    """Sums over sentences, by the length of the n-grams 1 to order."""

    matches: Array  # int32[order]
    ngrams: Array  # int32[order], of the candidates
    candidates: Array  # int32[], tokens
    references: Array  # int32[], tokens of the references nearest in length


@Metric
def bleu(*, order: int = 4, smooth: bool = False) -> Parts:
    """How far the n-grams of translations are found in their references, over a whole set of sentences.

    min(1, exp(1 - r / c)) (prod_{n=1}^{order} p_n)^(1 / order)

    p_n is the share of the candidates' n-grams that are in a reference, each at most as often as there; c and r
    count the tokens of the candidates and of the references nearest in length, of two the shorter.

        metrics.bleu(["the cat sat on the mat"], [["the cat is on the mat", "there is a cat on the mat"]])

    `measure` and `update` read tokens on the host; the state is sums of fixed size, which `merge` and `compute`
    handle anywhere.

    Args:
      candidates: a list of strings, split at white space, or of lists of tokens.
      references: for each candidate a list of references, each a string or a list of tokens.
      where: bool, one for each candidate, or None for all.
      order: longest n-grams, at least 1.
      smooth: give the k-th length without a match a precision of 2^-k over its n-grams, and leave out lengths
        that no candidate has. For single sentences, where a plain BLEU mostly is 0.

    Returns:
      float32[] in [0, 1]; 0 when some length has no match. NaN when there are no tokens at all.

    Raises:
      TypeError: an argument is one string instead of a list, or where is not bool.
      ValueError: there are not as many lists of references as candidates, a list is empty, or order is below 1.

    Source: Papineni, Roukos, Ward and Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002,
    section 2.3; Chen and Cherry, "A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU", 2014,
    method 3, for smooth.

    Differs from sacrebleu in the unit, 1 for its 100, and in leaving tokens to the caller; smooth is its
    smooth_method="exp", effective_order=True. Scores compare only between texts that were split alike.
    """
    checks.at_least(1, order=order)

    def measure(candidates: Any, references: Any, where: Array | None) -> Overlap:
        _check_as_many(candidates=candidates, references=references)
        chosen = np.asarray(counted((len(candidates),), where))
        matches, ngrams = np.zeros(order, np.int32), np.zeros(order, np.int32)
        candidate_length = reference_length = 0
        for i in np.flatnonzero(chosen):
            if isinstance(references[i], str) or not references[i]:
                raise ValueError(f"references[{i}] must be a list of references, got {references[i]!r}")
            words, others = _split(candidates[i]), [_split(reference) for reference in references[i]]
            candidate_length += len(words)
            reference_length += min((abs(len(o) - len(words)), len(o)) for o in others)[1]
            for n in range(order):
                found, allowed = _ngrams(words, n + 1), collections.Counter()
                for other in others:
                    allowed |= _ngrams(other, n + 1)
                matches[n] += (found & allowed).total()
                ngrams[n] += found.total()
        lengths = (jnp.asarray(x, jnp.int32) for x in (candidate_length, reference_length))
        return Overlap(jnp.asarray(matches), jnp.asarray(ngrams), *lengths)

    def zero() -> Overlap:
        none = jnp.zeros(order, jnp.int32)
        return Overlap(none, none, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def finish(state: Overlap) -> Array:
        misses = state.matches == 0
        there = (state.ngrams > 0) if smooth else jnp.ones(order, bool)
        hits = state.matches.astype(jnp.float32)
        if smooth:
            hits = jnp.where(misses, jnp.exp2(-jnp.cumsum(misses & there)), hits)
        shares = jnp.log(hits / jnp.maximum(state.ngrams, 1))
        precision = jnp.exp(jnp.mean(shares, where=there))
        brevity = jnp.exp(jnp.minimum(0, 1 - state.references / state.candidates))
        nothing = (state.candidates == 0) & (state.references == 0)
        score = jnp.where(state.matches[0] > 0, brevity * precision, 0)
        return jnp.where(nothing, jnp.nan, score)

    return Parts(zero, measure, finish)


def _ngrams(tokens: Sequence[Hashable], n: int) -> collections.Counter:
    return collections.Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

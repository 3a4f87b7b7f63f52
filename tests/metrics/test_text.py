"""Metrics of text: sacrebleu, its edit distance, the definitions by enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import metrics

CANDIDATES = [
    "the cat sat on the mat",
    "there is a dog in the garden today",
    "he reads the book because he is interested in world history",
    "a",
    "",
    "the the the the the",
]
REFERENCES = [
    ["the cat is on the mat", "there is a cat on the mat today"],
    ["a dog is in the garden", "there is a dog in the yard today"],
    ["he was interested in world history because he read the book"],
    ["a b", "c"],
    ["nothing was said"],
    ["the the end", "in the end"],
]


def sacre(candidates, references, **kwargs):
    bleu = pytest.importorskip("sacrebleu").BLEU(tokenize="none", **kwargs)
    most = max(map(len, references))
    streams = [[(r + [r[-1]] * most)[i] for r in references] for i in range(most)]
    return bleu.corpus_score(candidates, streams).score / 100


def test_bleu_equals_sacrebleu():
    for chosen in (slice(0, 3), slice(0, 6), slice(1, 2)):
        c, r = CANDIDATES[chosen], REFERENCES[chosen]
        for order in (2, 4):
            expected = sacre(c, r, smooth_method="none", max_ngram_order=order)
            np.testing.assert_allclose(metrics.bleu(c, r, order=order), expected, rtol=1e-5)
    for c, r in zip(CANDIDATES, REFERENCES):
        expected = sacre([c], [r], smooth_method="exp", effective_order=True)
        np.testing.assert_allclose(metrics.bleu([c], [r], smooth=True), expected, rtol=1e-5)


def test_bleu_streams_and_takes_any_tokens():
    metric = metrics.bleu
    state = metric.zero
    for c, r in zip(CANDIDATES, REFERENCES):
        ids = lambda text: [hash(word) for word in text.split()]  # noqa: E731
        state = metric.update(state, [ids(c)], [[ids(x) for x in r]])
    whole = metric(CANDIDATES, REFERENCES)
    assert whole > 0.1
    assert jax.jit(metric.compute)(state) == whole
    where = np.arange(6) < 2
    assert metric(CANDIDATES, REFERENCES, where=where) == metric(CANDIDATES[:2], REFERENCES[:2])


def test_bleu_of_nothing():
    assert metrics.bleu(["a b"], [["c d"]]) == 0
    assert metrics.bleu([""], [["c d"]]) == 0
    assert metrics.bleu(["a b c"], [["a b c"]]) == 0  # no four words in a row
    for candidates, references in (([], []), ([""], [[""]])):
        assert np.isnan(metrics.bleu(candidates, references))


def by_definition(p, t):
    @functools.lru_cache(None)
    def between(i, j):
        if not i or not j:
            return i + j
        same = between(i - 1, j - 1) + (p[i - 1] != t[j - 1])
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, same)

    return between(len(p), len(t))


def padded(sequences, length=8):
    return np.array([list(s) + [-1] * (length - len(s)) for s in sequences], np.int32)


sequences = st.lists(st.integers(0, 3), max_size=8)
of_arrays = jax.jit(metrics.edit_distance)


def check_pairs(pairs, gaps):
    predictions, targets = (padded(side) for side in zip(*pairs))
    expected = [by_definition(tuple(p), tuple(t)) for p, t in pairs]
    np.testing.assert_array_equal(of_arrays(predictions, targets), expected)
    spread = predictions[:, gaps]  # tokens in their order, with what is no token between them
    kept = [tuple(x for x in row if x >= 0) for row in spread]
    expected = [by_definition(p, tuple(t)) for p, (_, t) in zip(kept, pairs)]
    np.testing.assert_array_equal(of_arrays(spread, targets), expected)
    np.testing.assert_array_equal(of_arrays(targets, spread), expected)


many_pairs = st.lists(st.tuples(sequences, sequences), min_size=6, max_size=6)


@settings(max_examples=15, deadline=None)
@given(pairs=many_pairs, gaps=st.permutations(range(8)))
def test_edit_distance_equals_the_definition(pairs, gaps):
    check_pairs(pairs, list(gaps))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(pairs=many_pairs, gaps=st.permutations(range(8)))
def test_edit_distance_equals_the_definition_often(pairs, gaps):
    check_pairs(pairs, list(gaps))


def test_edit_distance_equals_sacrebleus():
    beam = pytest.importorskip("sacrebleu.metrics.lib_ter").BeamEditDistance
    for c, (r, *_) in zip(CANDIDATES[:3], REFERENCES[:3]):
        expected, _ = beam(r.split())(c.split())
        assert metrics.edit_distance(c.split(), r.split()) == expected


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("", "", 0),
        ("flaw", "lawn", 2),
        (["a", 1], ["a", 2, None], 2),
    ],
)
def test_edit_distance_of_what_is_not_numbers(a, b, distance):
    assert metrics.edit_distance(a, b) == distance


def test_word_error_rate_of_sentences():
    np.testing.assert_allclose(metrics.word_error_rate(["the cat sat"], ["the cat sat down"]), 0.25)
    both = metrics.word_error_rate(["the cat sat", "a b c"], ["the cat sat down", "a"])
    np.testing.assert_allclose(both, 3 / 5)
    of_characters = metrics.word_error_rate([list("kitten")], [list("sitting")])
    np.testing.assert_allclose(of_characters, 3 / 7, rtol=1e-6)
    assert metrics.word_error_rate(["a"], [""]) == np.inf
    assert np.isnan(metrics.word_error_rate([""], [""]))


def test_perplexity_of_a_model_that_knows_nothing():
    labels = np.arange(8).reshape(2, 4)
    logits = np.zeros((2, 4, 16), np.float32)
    np.testing.assert_allclose(metrics.perplexity(logits, labels), 16, rtol=1e-6)
    np.testing.assert_allclose(metrics.bits_per_character(logits, labels), 4, rtol=1e-6)
    for metric in (metrics.perplexity, metrics.bits_per_character):
        assert np.isnan(metric(logits, labels, where=labels < 0))
        assert np.isnan(metric(logits, labels - 1))
    sure = np.where(np.eye(16, dtype=bool)[labels], np.float32(1e4), 0).astype(np.float32)
    assert metrics.perplexity(sure, labels) == 1
    assert metrics.perplexity(sure, labels + 1) == np.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.bleu("a b", [["a"]]), TypeError, "candidates must be a list of sequences"),
        (
            lambda: metrics.bleu(["a b"], [["a"], ["b"]]),
            ValueError,
            "references must be as many as candidates, 1",
        ),
        (lambda: metrics.bleu(["a b"], ["a b"]), ValueError, r"references\[0\] must be a list of references"),
        (lambda: metrics.bleu(["a b"], [[]]), ValueError, r"references\[0\] must be a list of references"),
        (lambda: metrics.bleu.bind(order=0), ValueError, "order must be at least 1, got 0"),
        (lambda: metrics.edit_distance(jnp.ones(3), jnp.ones(3)), TypeError, "predictions must be integers"),
        (
            lambda: metrics.edit_distance(np.zeros((2, 3), int), np.zeros((3, 3), int)),
            ValueError,
            "must agree in the leading axes",
        ),
        (
            lambda: metrics.word_error_rate(["a"], ["a", "b"]),
            ValueError,
            "targets must be as many as predictions",
        ),
        (lambda: metrics.word_error_rate("a", "b"), TypeError, "predictions must be a list of sequences"),
        (
            lambda: metrics.word_error_rate(np.zeros(3, int), np.zeros(3, int)),
            ValueError,
            "predictions must have rank",
        ),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

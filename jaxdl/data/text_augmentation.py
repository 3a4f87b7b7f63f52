"""Random changes of one text: `(key, text)` in, a text out. On the host; the same key gives the same text.

Words are what stands between white space, and every result has single spaces. A word's signs at its ends stay where
they are when the word is replaced: "(good)," becomes "(fine),".
"""

import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jaxdl import checks
from jaxdl.types import Array

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
Synonyms = Mapping[str, Sequence[str]]


def host_rng(key: Array) -> np.random.Generator:
    """NumPy's generator of a JAX key: one source of randomness for device and host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def word_shuffle(key: Array, text: str) -> str:
    """Puts the words of each sentence in random order; sentences stay in place, and so does the sign that ends each.

    Args:
      key: PRNG key.
      text: sentences that end with ".", "!" or "?".

    Returns:
      The text with the same words.
    """
    rng = host_rng(key)
    sentences = []
    for sentence in _SENTENCE_END.split(text.strip()):
        body = sentence.rstrip(".!?")
        words = body.split()
        shuffled = " ".join(words[i] for i in rng.permutation(len(words)))
        sentences.append(shuffled + sentence[len(body) :])
    return " ".join(sentences)


def sentence_shuffle(key: Array, text: str) -> str:
    """Puts the sentences of a text in random order; each stays as it is.

    Args:
      key: PRNG key.
      text: sentences that end with ".", "!" or "?" and white space.

    Returns:
      The text with the same sentences.
    """
    sentences = _SENTENCE_END.split(text.strip())
    return " ".join(sentences[i] for i in host_rng(key).permutation(len(sentences)))


def _alike(word: str, other: str) -> str:
    """The other word with a capital where the word has one."""
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _synonyms_of(word: str, synonyms: Synonyms) -> tuple[str, str, str, Sequence[str]]:
    match = _WORD.fullmatch(word)
    assert match is not None  # the pattern takes any text
    before, core, after = match.groups()
    return before, core, after, synonyms.get(core.lower(), ())


def synonym_replacement(key: Array, text: str, synonyms: Synonyms, *, rate: float = 0.1) -> str:
    """Replaces each word that has synonyms, with probability `rate`, by one of them, all equally likely.

    Args:
      key: PRNG key.
      text: any.
      synonyms: from a lower-case word to what may stand for it: a thesaurus, or a list for the task at hand.
      rate: in [0, 1].

    Returns:
      The text; a capital at the beginning of a word stays one.

    Source: Zhang, Zhao and LeCun (2015), section 2.4. Wei and Zou (2019) replace a fixed number of words instead.
    """
    checks.between(0, 1, rate=rate)
    rng = host_rng(key)
    words = []
    for word in text.split():
        before, core, after, choices = _synonyms_of(word, synonyms)
        if choices and rng.random() < rate:
            word = before + _alike(core, choices[int(rng.integers(len(choices)))]) + after
        words.append(word)
    return " ".join(words)


def random_insertion(key: Array, text: str, synonyms: Synonyms, *, rate: float = 0.1) -> str:
    """For each word that has synonyms, with probability `rate`, puts one of them anywhere between the words.

    Args:
      key: PRNG key.
      text: any.
      synonyms: from a lower-case word to its synonyms.
      rate: in [0, 1].

    Returns:
      The text, with every word that it had, in order.

    Source: Wei and Zou, "EDA" (2019), which inserts a fixed number.
    """
    checks.between(0, 1, rate=rate)
    rng = host_rng(key)
    result = text.split()
    for word in text.split():
        *_, choices = _synonyms_of(word, synonyms)
        if choices and rng.random() < rate:
            result.insert(int(rng.integers(len(result) + 1)), choices[int(rng.integers(len(choices)))])
    return " ".join(result)


def random_deletion(key: Array, text: str, *, rate: float = 0.1) -> str:
    """Leaves each word out with probability `rate`; if none is left, one of them at random stays.

    Args:
      key: PRNG key.
      text: any.
      rate: in [0, 1].

    Returns:
      The text that is left, in order; "" only for a text without words.

    Source: Wei and Zou, "EDA" (2019).
    """
    checks.between(0, 1, rate=rate)
    rng = host_rng(key)
    words = text.split()
    if not words:
        return ""
    kept = [word for word, draw in zip(words, rng.random(len(words))) if draw >= rate]
    return " ".join(kept or [words[rng.integers(len(words))]])

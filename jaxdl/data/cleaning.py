"""Text made plain for bags of words and small classifiers, on the host."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from jaxdl import checks

# Words that say little on their own. "no", "not", "nor" and "never" are not among them: they turn a review around.
_STOP_WORDS = """
    a about after again all also am an and any are as at be because been before being below between both but by can
    could did do does doing down during each few for from further had has have having he her here hers herself him
    himself his how i if in into is it it's its itself just me more most my myself now of off on once only or other
    our ours ourselves out over own same she should so some such than that the their theirs them themselves then there
    these they this those through to too under until up very was we were what when where which while who whom why will
    with would you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Letters and digits of any script, with apostrophes inside a word.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def clean_text(
    text: Any,
    *,
    stop_words: Collection[str] = STOP_WORDS,
    lemma: Callable[[str], str] | None = None,
    missing: str = "<UNK>",
) -> str:
    """Lower-cases a text, leaves out everything that is no letter or digit, then stop words; then each word's lemma.

    "The cats, it's said, weren't fed!" -> "cats said weren't fed"

    Args:
      text: a str; None or NaN for a missing one, as tables hold it.
      stop_words: lower-case words to leave out; () for none.
      lemma: from a word to its base form, called for each word that is left: a stemmer's or lemmatizer's method.
      missing: what a missing text becomes.

    Returns:
      The words that are left, with single spaces; "" if there are none.

    Raises:
      TypeError: `text` is neither a str nor missing.

    Differs from the usual recipe, which drops stop words while commas still stick to them, and hands whole texts to a
    lemmatizer that takes words: both then do next to nothing. Apostrophes inside words stay here.
    """
    if text is None or (isinstance(text, float) and np.isnan(text)):
        return missing
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, or None or NaN where it is missing, got {text!r}")
    words = [word.replace("’", "'") for word in _WORD.findall(text.lower())]
    words = [word for word in words if word not in stop_words]
    return " ".join(words if lemma is None else map(lemma, words))


def keyword_features(
    texts: str | Sequence[str], keywords: Sequence[str], *, counts: bool = False
) -> np.ndarray:
    """Whether, or how often, a text holds each of some words: the hand-made features of a spam filter.

    Whole words, in any case: "win" is neither in "winter" nor in "wins".

    Args:
      texts: one text, or N.
      keywords: K different words.
      counts: how often, instead of whether.

    Returns:
      float32 [K] for one text, [N, K] for several.

    Raises:
      ValueError: no keywords, one twice, or one that is not a single word.
    """
    names = [keyword.lower() for keyword in keywords]
    checks.at_least(1, number_of_keywords=len(names))
    if len(set(names)) < len(names):
        raise ValueError(f"keywords must differ from each other, got {', '.join(names)}")
    for name in names:
        if not _WORD.fullmatch(name):
            raise ValueError(f"keywords must be single words, got {name!r}")
    place = {name: k for k, name in enumerate(names)}
    rows = [texts] if isinstance(texts, str) else list(texts)
    features = np.zeros((len(rows), len(names)), np.float32)
    for row, text in zip(features, rows):
        for word in _WORD.findall(text.lower()):
            if word in place:
                row[place[word]] += 1
    features = features if counts else np.minimum(features, 1)
    return features[0] if isinstance(texts, str) else features

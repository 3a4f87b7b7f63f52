"""Cleaned text by hand; keywords against scikit-learn and the worked spam filter."""

import numpy as np
import pytest

from jaxdl.data import clean_text, keyword_features
from jaxdl.data.cleaning import STOP_WORDS


@pytest.mark.parametrize(
    ("text", "setting", "expected"),
    [
        pytest.param("The cats, it's said, weren't fed!", {}, "cats said weren't fed", id="docstring"),
        pytest.param("NOT good; never, ever.", {}, "not good never ever", id="negations stay"),
        pytest.param("the_end 3.5% naïve—Größe", {}, "end 3 5 naïve größe", id="signs"),
        pytest.param("the end", {"stop_words": ()}, "the end", id="no stop words"),
        pytest.param("Ann’s 'quoted' dogs'", {}, "ann's quoted dogs", id="apostrophes"),
        pytest.param(
            "The cats ran", {"lemma": {"cats": "cat", "ran": "run"}.get}, "cat run", id="lemmas by word"
        ),
        pytest.param(None, {}, "<UNK>", id="None"),
        pytest.param(float("nan"), {"missing": "?"}, "?", id="NaN"),
        pytest.param("The, and!", {}, "", id="nothing left"),
    ],
)
def test_clean_text(text, setting, expected):
    assert clean_text(text, **setting) == expected


def test_clean_text_takes_one_text():
    with pytest.raises(TypeError, match="text must be a str, or None or NaN"):
        clean_text(3.0)
    assert not STOP_WORDS & {"no", "not", "nor", "never"}
    assert all(clean_text(word) == "" for word in STOP_WORDS)


def test_the_worked_spam_filter():
    """004a-7.1: features, then the printed net on them."""
    features = keyword_features("Get free gift cards now! Exclusive Offer", ["free", "win", "offer"])
    assert features.dtype == np.float32
    assert features.tolist() == [1, 0, 1]
    hidden = np.maximum(features @ np.array([[0.5, 0.4], [-0.2, 0.1], [0.3, -0.5]]), 0)
    assert 1 / (1 + np.exp(-hidden @ [0.7, 0.2])) == pytest.approx(0.6364525402815664)


def test_keywords_equal_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts = ["Win, win; a WINTER prize!", "no prize", "", "you win the prize-money. Prize?"]
    words = ["win", "prize", "money"]
    for counts in (False, True):
        oracle = text.CountVectorizer(vocabulary=words, binary=not counts).transform(texts).toarray()
        np.testing.assert_array_equal(keyword_features(texts, words, counts=counts), oracle)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        pytest.param([], "number_of_keywords must be at least 1", id="none"),
        pytest.param(["a", "A"], "must differ from each other", id="twice"),
        pytest.param(["free gift"], "must be single words, got 'free gift'", id="two words"),
    ],
)
def test_errors(keywords, message):
    with pytest.raises(ValueError, match=message):
        keyword_features("text", keywords)

"""Tokenizers: round trips of any text, the worked sentence, the tokenizers library, Keras."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Tokenizer
from jaxdl.data.byte_pairs import byte_order, split_words

LICENSE = (pathlib.Path(__file__).parent.parent.parent / "LICENSE").read_text(encoding="utf-8")
SAYINGS = ["The cat, the dog; the bird!", "Don't feed the well-known cat.", "A dog's dog.\tRUN  dog"]
STRANGE = (
    "Hello   world\n\n I'm 12½ naïve 中文字 \u3000 a\x1cb  don't_re'll x² Ⅷ e\u0301 \U0001f600  'S 'tis\r\n"
)
PAIRS = Tokenizer.byte_pairs(LICENSE, 420, specials=("<pad>", "<end>"))


def all_three(text):
    return (
        PAIRS,
        Tokenizer.byte_pairs([text, text], 300),
        Tokenizer.characters(text, specials=("<pad>",)),
    )


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_any_text_comes_back(text):
    for tokenizer in all_three(text):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == text
        assert (ids >= len(tokenizer.specials)).all()  # what looks like a special token is spelled
        assert (ids < tokenizer.vocab_size).all()
    words = Tokenizer.words([text])
    once = words.decode(words.encode(text))
    assert words.decode(words.encode(once)) == once  # words lose case and signs, once
    assert "<oov>" not in words.decode(words.encode(text)) or "<oov>" in text.lower()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, PAIRS.vocab_size - 1)))
def test_any_ids_decode(ids):
    text = PAIRS.decode(np.array(ids, np.int32))
    assert isinstance(text, str)
    assert PAIRS.decode(ids, skip_specials=True) == PAIRS.decode([i for i in ids if i > 1])


def test_the_worked_sentence():
    """004b-7.8: sixteen characters, ids by code point."""
    text = "This is Tech a software training institute"
    tokenizer = Tokenizer.characters(text)
    assert tokenizer.vocabulary == tuple(" Tacefghinorstuw")
    assert tokenizer.encode("This").tolist() == [1, 7, 8, 12]
    assert len(tokenizer.encode(text)) == 42
    with pytest.raises(ValueError, match="does not know 'G', and has no oov token"):
        tokenizer.encode("This is G")
    known = Tokenizer.characters(text, specials=("<pad>", "?"), oov="?")
    assert known.encode("is G").tolist() == [10, 14, 2, 1]
    assert known.decode(known.encode("is G")) == "is ?"


def test_words_by_frequency():
    tokenizer = Tokenizer.words(SAYINGS)
    # the 4, dog 3 (and "dog's" apart), cat 2, then in order of appearance.
    expected = [
        "<pad>",
        "<oov>",
        "the",
        "dog",
        "cat",
        "bird",
        "don't",
        "feed",
        "well",
        "known",
        "a",
        "dog's",
        "run",
    ]
    assert tokenizer.vocabulary == tuple(expected)
    assert tokenizer.encode("THE zebra, and the DOG").tolist() == [2, 1, 1, 2, 3]
    assert tokenizer.id("cat") == 4
    few = Tokenizer.words(SAYINGS, num_words=4)
    assert few.vocab_size == 4
    assert few.encode("the cat dog").tolist() == [2, 1, 3]
    cased = Tokenizer.words(SAYINGS, specials=(), oov=None, lower=False)
    assert cased.encode("The dog").tolist() == [cased.vocabulary.index(w) for w in ("The", "dog")]
    with pytest.raises(ValueError, match="does not know 'zebra'"):
        cased.encode("The zebra")


@pytest.mark.slow
def test_words_have_keras_ids():
    text = pytest.importorskip("keras.src.legacy.preprocessing.text")
    train, other = [LICENSE[:4000], *SAYINGS], [LICENSE[4000:], "NEW don't-know words, the #end"]
    for num_words in (50, None):
        keras = text.Tokenizer(num_words=num_words, oov_token="<oov>")
        keras.fit_on_texts(train)
        ours = Tokenizer.words(train, num_words=num_words)
        for one in train + other:
            assert ours.encode(one).tolist() == keras.texts_to_sequences([one])[0]


@pytest.mark.parametrize("vocab_size", [300, 700, 2000])
def test_merges_are_those_of_the_tokenizers_library(vocab_size):
    library = pytest.importorskip("tokenizers")
    pre = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs = library.Tokenizer(library.models.BPE())
    theirs.pre_tokenizer = pre
    alphabet = pre.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator([LICENSE, STRANGE], trainer)
    ours = Tokenizer.byte_pairs([LICENSE, STRANGE], vocab_size)
    letters = dict(zip(byte_order(), sorted(alphabet)))
    spelled = ["".join(letters[b] for b in piece) for piece in ours.vocabulary]
    merges = [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]]
    assert [(spelled[left], spelled[right]) for left, right in ours.merges] == merges
    assert {piece: i for i, piece in enumerate(spelled)} == theirs.get_vocab()
    for text in (LICENSE, STRANGE, "", " ", "unseen words, and 日本語"):
        assert ours.encode(text).tolist() == theirs.encode(text).ids
        assert split_words(text) == [text[a:b] for _, (a, b) in pre.pre_tokenize_str(text)]


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(exclude_categories=("Cs", "Cn"))))
def test_any_text_is_cut_as_the_tokenizers_library_does(text):
    library = pytest.importorskip("tokenizers")
    pre = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert split_words(text) == [text[a:b] for _, (a, b) in pre.pre_tokenize_str(text)]


def test_pairs_merged_by_hand():
    """The example of Sennrich, Haddow and Birch (2016), on bytes."""
    text = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"
    tokenizer = Tokenizer.byte_pairs(text, 256 + 3)
    # "es" and "st" come 9 times, e is before s; then "est" comes 9 times; then "lo" and "ow" 7 times, l is before o.
    assert list(tokenizer.vocabulary[256:]) == [b"es", b"est", b"lo"]
    assert tokenizer.decode(tokenizer.encode("slowest")) == "slowest"
    assert [tokenizer.vocabulary[i] for i in tokenizer.encode("slowest")] == [b"s", b"lo", b"w", b"est"]
    assert Tokenizer.byte_pairs("abcdefg", 400).vocab_size == 256  # no pair occurs twice
    assert Tokenizer.byte_pairs("abab abab", 400, min_count=3).merges == ((64, 65),)


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param(PAIRS, id="byte pairs"),
        pytest.param(
            Tokenizer.characters(STRANGE + "\ud800", specials=("<pad>", "é"), oov="é"), id="characters"
        ),
        pytest.param(Tokenizer.words([LICENSE, STRANGE], num_words=90, lower=False), id="words"),
    ],
)
def test_saved_and_read_again(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokens.json")
    again = Tokenizer.load(tmp_path / "tokens.json")
    for name in ("unit", "vocabulary", "specials", "oov", "lower", "merges", "vocab_size"):
        assert getattr(again, name) == getattr(tokenizer, name)
    np.testing.assert_array_equal(again.encode(STRANGE), tokenizer.encode(STRANGE))
    assert again.id(again.specials[-1]) == len(again.specials) - 1
    json.loads((tmp_path / "tokens.json").read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("[1]", "is not a tokenizer that", id="another file"),
        pytest.param("{", "is not valid JSON", id="damaged"),
        pytest.param('{"format": "jaxdl tokenizer 1"}', "holds no whole tokenizer", id="no unit"),
        pytest.param('{"format": "jaxdl tokenizer 1", "unit": "x"}', "unit must be one of", id="unit"),
        pytest.param(
            '{"format": "jaxdl tokenizer 1", "unit": "byte_pair", "merges": [[0, 256]]}',
            "not there yet",
            id="merge",
        ),
        pytest.param(
            '{"format": "jaxdl tokenizer 1", "unit": "byte_pair", "merges": [[1, 2, 3]]}',
            "no whole",
            id="triple",
        ),
        pytest.param(
            '{"format": "jaxdl tokenizer 1", "unit": "word", "symbols": ["a", "a"]}', "'a' twice", id="twice"
        ),
    ],
)
def test_files_that_are_none(content, message, tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda: PAIRS.encode(["a"]), TypeError, "text must be a str, got list", id="list"),
        pytest.param(lambda: PAIRS.encode("\ud800"), ValueError, "surrogate", id="surrogate"),
        pytest.param(
            lambda: PAIRS.decode([999]), ValueError, r"ids must lie in \[0, 420\), got 999", id="id"
        ),
        pytest.param(lambda: PAIRS.decode([-1]), ValueError, "ids must lie in", id="negative id"),
        pytest.param(lambda: PAIRS.decode([[1]]), ValueError, "ids must have rank 1", id="rank"),
        pytest.param(lambda: PAIRS.decode([0.5]), TypeError, "ids must be integers", id="float"),
        pytest.param(lambda: PAIRS.id("zq"), ValueError, "does not know 'zq'", id="unknown token"),
        pytest.param(
            lambda: Tokenizer.byte_pairs("a", 255), ValueError, "vocab_size must be at least 256", id="size"
        ),
        pytest.param(
            lambda: Tokenizer.words("a", num_words=2), ValueError, "num_words must be at least 3", id="few"
        ),
        pytest.param(lambda: Tokenizer.characters("a", oov="?"), ValueError, "oov must be one of", id="oov"),
        pytest.param(
            lambda: Tokenizer.characters("a", specials=("b", "b")), ValueError, "'b' twice", id="specials"
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()

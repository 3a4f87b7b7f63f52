"""The toy language against a parser and a translator written for strings."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.drawings import COLORS, SHAPES, SIZES
from jaxdl.data.grammar import PARTNER_WORDS, TAGS, WORDS

SIZE = 3000
NOUN = f"({'|'.join(SHAPES)})"
PART = rf"(?:(the|a) )?(?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLORS)}) )?(?:{NOUN} )?{NOUN}"
PART_TAGS = ["determiner", "adjective", "adjective", "noun", "noun"]
PLACE_TAGS = ["adverb", *PART_TAGS, "verb", *PART_TAGS, "adverb", "end"]


def text(ids, words):
    assert not ids[np.argmin(ids) if 0 in ids else len(ids) :].any()  # closed with 0, no holes
    return " ".join(words[i] for i in ids if i)


def parse(sentence):
    """The one reading that the end allows: two nouns in the subject only before "!", in the object only before "."."""
    readings = []
    words = sentence.split()
    for verb in range(1, len(words) - 2):
        match = re.fullmatch(rf"((?:never )?){PART}", " ".join(words[:verb]))
        rest = re.fullmatch(rf"{PART} (gladly|sadly) ([.!])", " ".join(words[verb + 1 :]))
        if match and rest and words[verb] in SHAPES:
            never, *subject = match.groups()
            *thing, how, end = rest.groups()
            if not (subject[3] and end == ".") and not (thing[3] and end == "!"):
                readings.append([never.strip() or None, *subject, words[verb], *thing, how, end])
    return readings


@pytest.fixture(scope="module")
def table(made):
    return made(lambda key: data.toy_grammar(key, SIZE))


def test_each_sentence_has_one_reading_and_all_else_follows_from_it(table):
    ambiguous = 0
    for row in range(SIZE):
        sentence = text(table["tokens"][row], WORDS)
        readings = parse(sentence)
        assert len(readings) == 1, sentence
        places = readings[0]
        assert table["lengths"][row] == len(sentence.split())
        tags = [tag for word, tag in zip(places, PLACE_TAGS) if word]
        assert text(table["tags"][row], TAGS).split() == tags
        never, subject, verb, thing, (how, end) = places[0], places[1:6], places[6], places[7:12], places[12:]
        assert table["y"][row] == ((how == "gladly") != (never == "never"))
        partner = [word[::-1] for word in [*subject[::-1], *thing[::-1], verb, never, how, end] if word]
        assert text(table["partner"][row], PARTNER_WORDS).split() == partner
        for said, scene in zip((subject, thing), table["scene"][row]):
            names = (said[1], said[2], said[4])
            expected = [-1 if n is None else k.index(n) for n, k in zip(names, (SIZES, COLORS, SHAPES))]
            assert scene.tolist() == expected
        # What a reader knows before the end: with the other end the same words read differently.
        other = parse(sentence[:-1] + ("!" if end == "." else "."))
        ambiguous += bool(other) and [w for w in other[0][:6] if w] != [w for w in places[:6] if w]
    # 9 / 64 = 0.1406, standard error 0.0063.
    assert abs(ambiguous / SIZE - 9 / 64) < 0.026


def test_the_label_needs_both_words(table):
    never = (table["tokens"] == WORDS.index("never")).any(1)
    gladly = (table["tokens"] == WORDS.index("gladly")).any(1)
    for word in (never, gladly):
        assert abs((word == table["y"]).mean() - 0.5) < 0.04
    np.testing.assert_array_equal(table["y"], never != gladly)
    assert set(np.unique(table["tokens"])) == set(range(len(WORDS))) - {WORDS.index("and")}


def test_captions_of_scenes():
    scene = jnp.array([[[0, 0, 6], [1, 2, 7]], [[-1, 4, 0], [-1, -1, -1]], [[-1, -1, -1], [-1, -1, -1]]])
    caption = {name: np.asarray(v) for name, v in jax.jit(data.scene_captions)(scene).items()}
    expected = ["a small red ring and a large blue star .", "a magenta circle .", ""]
    assert [text(row, WORDS) for row in caption["tokens"]] == expected
    assert caption["lengths"].tolist() == [10, 4, 0]
    noun_phrase = "determiner adjective adjective noun"
    assert text(caption["tags"][0], TAGS) == f"{noun_phrase} conjunction {noun_phrase} end"
    assert text(caption["tags"][1], TAGS) == "determiner adjective noun end"


def test_errors(key):
    with pytest.raises(ValueError, match="size must be at least 1"):
        data.toy_grammar(key, 0)
    with pytest.raises(ValueError, match=r"scene must have shape \(any, any, 3\)"):
        data.scene_captions(jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(TypeError, match="scene must be integers"):
        data.scene_captions(jnp.zeros((2, 1, 3)))

"""Changed texts: what must stay, how often it changes, and that the key decides."""

import collections

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import random_deletion, random_insertion, sentence_shuffle, synonym_replacement, word_shuffle

TEXT = "The quick fox jumps over it. A lazy dog sleeps! Does the (quick) dog dream? No."
SYNONYMS = {"quick": ["fast", "rapid", "swift"], "dog": ["hound"]}
KEYS = list(jax.random.split(jax.random.key(0), 300))


def calls(change, *args, text=TEXT, **setting):
    return [change(key, text, *args, **setting) for key in KEYS]


def test_word_shuffle_keeps_sentences_and_their_ends():
    results = calls(word_shuffle)
    parts = [["The", "quick", "fox", "jumps", "over", "it"], ["A", "lazy", "dog", "sleeps"]]
    firsts = collections.Counter()
    for result in results:
        first, second, third, fourth = result.replace("! ", ". ").replace("? ", ". ").split(". ")
        assert sorted(first.split()) == sorted(parts[0])
        assert sorted(second.split()) == sorted(parts[1])
        assert sorted(third.split()) == sorted(["Does", "the", "(quick)", "dog", "dream"])
        assert fourth == "No."
        assert [c for c in result if c in ".!?"] == [".", "!", "?", "."]
        firsts[second.split()[0]] += 1
    # Each of four words first in a quarter of 300: standard error 7.5.
    assert all(abs(count - 75) < 32 for count in firsts.values())
    assert len(firsts) == 4


def test_sentence_shuffle_keeps_sentences():
    sentences = ["The quick fox jumps over it.", "A lazy dog sleeps!", "Does the (quick) dog dream?", "No."]
    results = calls(sentence_shuffle)
    starts = collections.Counter(next(s for s in sentences if r.startswith(s)) for r in results)
    for result in results[:20]:
        rest = result
        for sentence in sorted(sentences, key=result.index):
            assert rest.startswith(sentence)
            rest = rest[len(sentence) :].strip()
        assert rest == ""
    assert all(abs(starts[s] - 75) < 32 for s in sentences)


def test_synonym_replacement_by_rate():
    counts = collections.Counter()
    for result in calls(synonym_replacement, SYNONYMS, rate=0.4):
        words = result.split()
        assert len(words) == len(TEXT.split())
        for old, new in zip(TEXT.split(), words):
            core = old.strip("().?!")
            if core in SYNONYMS:
                assert new.strip("().?!") in (core, *SYNONYMS[core])
                assert new.replace(new.strip("().?!"), core) == old  # brackets and signs stay
                counts[new.strip("().?!")] += 1
            else:
                assert new == old
    # 600 chances for each of the two words: standard error 12 for the rate, 8 for each synonym.
    assert abs(counts["quick"] - 360) < 55
    assert abs(counts["hound"] - 240) < 55
    assert all(abs(counts[s] - 80) < 40 for s in SYNONYMS["quick"])
    key = KEYS[0]
    assert synonym_replacement(key, "Quick DOG", SYNONYMS, rate=1.0).split()[1] == "Hound"
    assert synonym_replacement(key, TEXT, SYNONYMS, rate=0.0) == TEXT


def test_random_insertion_adds_synonyms_anywhere():
    added, places = 0, set()
    for result in calls(random_insertion, SYNONYMS, rate=0.5):
        new, old = result.split(), TEXT.split()
        kept = [word for word in new if word not in ("fast", "rapid", "swift", "hound")]
        assert kept == old
        added += len(new) - len(old)
        places |= {i for i, word in enumerate(new) if word not in old}
    assert abs(added / 300 - 2) < 0.25  # four words with synonyms, standard error 0.06
    assert {0, len(TEXT.split())} <= places
    assert random_insertion(KEYS[0], TEXT, SYNONYMS, rate=0.0) == TEXT


def test_random_deletion_by_rate():
    words = TEXT.split()
    left = []
    for result in calls(random_deletion, rate=0.3):
        rest = iter(words)
        assert all(word in rest for word in result.split())  # in order
        left.append(len(result.split()))
    assert abs(sum(left) / 300 / len(words) - 0.7) < 0.03
    assert {random_deletion(key, "one two", rate=1.0) for key in KEYS[:20]} == {"one", "two"}
    assert random_deletion(KEYS[0], "  ", rate=0.5) == ""


CHANGES = [
    pytest.param(word_shuffle, (), {}, id="word_shuffle"),
    pytest.param(sentence_shuffle, (), {}, id="sentence_shuffle"),
    pytest.param(synonym_replacement, (SYNONYMS,), {"rate": 0.5}, id="synonym_replacement"),
    pytest.param(random_insertion, (SYNONYMS,), {"rate": 0.5}, id="random_insertion"),
    pytest.param(random_deletion, (), {"rate": 0.5}, id="random_deletion"),
]


@pytest.mark.parametrize(("change", "args", "setting"), CHANGES)
def test_the_key_decides(change, args, setting):
    assert change(KEYS[0], TEXT, *args, **setting) == change(KEYS[0], TEXT, *args, **setting)
    assert len({change(key, TEXT, *args, **setting) for key in KEYS[:20]}) > 5
    if "rate" in setting:
        with pytest.raises(ValueError, match=r"rate must be between 0 and 1, got 1.5"):
            change(KEYS[0], TEXT, *args, rate=1.5)


@settings(deadline=None, max_examples=15)
@given(st.text())
def test_any_text_is_taken(text):
    words = collections.Counter(text.split())
    key = KEYS[1]
    assert collections.Counter(sentence_shuffle(key, text).split()) == words
    assert synonym_replacement(key, text, {}, rate=1.0) == " ".join(text.split())
    assert random_insertion(key, text, {}, rate=1.0) == " ".join(text.split())
    assert random_deletion(key, text, rate=0.0) == " ".join(text.split())
    assert sorted(word_shuffle(key, text).replace(" ", "")) == sorted("".join(text.split()))

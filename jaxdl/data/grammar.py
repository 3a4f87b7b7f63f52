"""Sentences of a small language about small figures: with tags, a label, a translation and what they describe.

All functions are pure, jittable with static sizes, and vmappable over the key. N: sentences, L: words, M: figures.
"""

import jax.numpy as jnp
import numpy as np

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.data.drawings import COLORS, SHAPES, SIZES
from jaxdl.types import Array

_FUNCTION_WORDS = ("the", "a", "and", "never", "gladly", "sadly", ".", "!")
WORDS = ("<pad>", *_FUNCTION_WORDS, *SIZES, *COLORS, *SHAPES)
# The other language writes every word backwards, so that a reader can check a translation; to a net it is a new id.
PARTNER_WORDS = tuple(word if word == "<pad>" else word[::-1] for word in WORDS)
TAGS = ("<pad>", "determiner", "adjective", "noun", "verb", "adverb", "conjunction", "end")
_PAD, _DETERMINER, _ADJECTIVE, _NOUN, _VERB, _ADVERB, _CONJUNCTION, _END = range(len(TAGS))
_THE, _A, _AND, _NEVER, _GLADLY, _SADLY, _DOT, _BANG = range(1, 9)
_SIZE = 9
_COLOR = _SIZE + len(SIZES)
_SHAPE = _COLOR + len(COLORS)
_FIRST_OF = np.array([_SIZE, _COLOR, _SHAPE], np.int32)
SENTENCE_LENGTH = 13
# Places of a sentence: never, subject (determiner, size, colour, first noun, noun), verb, object (as the subject),
# how, end. The other language puts the verb last and, in each part, the noun first.
_PARTNER_ORDER = np.array([5, 4, 3, 2, 1, 11, 10, 9, 8, 7, 6, 0, 12, 13])
_PART_TAGS = [_DETERMINER, _ADJECTIVE, _ADJECTIVE, _NOUN, _NOUN]
_PLACE_TAGS = np.array([_ADVERB, *_PART_TAGS, _VERB, *_PART_TAGS, _ADVERB, _END], np.int32)
# How often a place is filled; for a first noun, where the end allows it.
_FILLED = np.array([0.5, 0.5, 0.25, 0.25, 0.5, 1, 1, 0.5, 0.25, 0.25, 0.5, 1, 1, 1])


def _closed_up(values: Array, present: Array, length: int) -> Array:
    """Moves what is present to the front, in order, and fills up with 0."""
    order = jnp.argsort(~present, axis=-1, stable=True)[..., :length]
    return jnp.take_along_axis(jnp.where(present, values, 0), order, axis=-1)


def toy_grammar(key: Array, size: int) -> dict[str, Array]:
    """Sentences such as "never the small ring frame cross a star sadly !", and all that is to be known about them.

    sentence: [never] part verb part gladly|sadly .|!;  part: [the|a] [size] [colour] [noun] noun

    "never", a determiner and a first noun are there half of the time, size and colour a quarter; but a part has two
    nouns only where the end allows it: the subject before "!", the object before ".". Nouns and verbs are the same
    ten words (to ring, to frame), so

    - tags: in "ring frame cross star" the verb is "frame" or "cross", as the last word decides. It stays
      unknown in 9 of 64 sentences to a reader from the left, or with a memory of one tag (a hidden Markov model); from
      the whole sentence all tags follow without error.
    - label: 1 for glad, or sad with "never". Each of the two words alone is right half of the time, both always.
    - translation: noun first in each part, the verb after both parts, then "never": without error, one to one.
    - scene: who does it and to whom, for a picture.

    Args:
      key: PRNG key.
      size: sentences N, at least 1.

    Returns:
      `tokens`, `tags` and `partner` int32 [N, 13], closed with 0: indices into `WORDS`, `TAGS` and `PARTNER_WORDS`;
      `lengths` int32 [N]; `y` int32 [N], the label; `scene` int32 [N, 2, 3]: size, colour and figure (`SIZES`,
      `COLORS`, `SHAPES`) of subject and object, -1 where nothing is said.
    """
    checks.at_least(1, size=size)
    filled, which = draws.uniform(key, (2, size, 14))
    # The first word and the one after the last that may stand in each place.
    part, after = [_THE, _SIZE, _COLOR, _SHAPE, _SHAPE], [_AND, _COLOR, _SHAPE, len(WORDS), len(WORDS)]
    low = np.array([[_NEVER, *part, _SHAPE, *part, _GLADLY, _DOT]], np.int32)
    high = np.array([[_GLADLY, *after, len(WORDS), *after, _DOT, _SIZE]], np.int32)
    words = jnp.asarray(low) + jnp.floor((high - low) * which).astype(jnp.int32)
    exclaims = words[:, 13] == _BANG
    present = filled < _FILLED[None]
    present = present.at[:, 4].min(exclaims).at[:, 10].min(~exclaims)
    tags = jnp.broadcast_to(_PLACE_TAGS, (size, 14))
    told = jnp.where(present, words, 0)
    scene = jnp.stack([told[:, [2, 3, 5]], told[:, [8, 9, 11]]], axis=1)
    return {
        "tokens": _closed_up(words, present, SENTENCE_LENGTH),
        "tags": _closed_up(tags, present, SENTENCE_LENGTH),
        "partner": _closed_up(words[:, _PARTNER_ORDER], present[:, _PARTNER_ORDER], SENTENCE_LENGTH),
        "lengths": jnp.sum(present, axis=1, dtype=jnp.int32),
        "y": ((words[:, 12] == _GLADLY) != present[:, 0]).astype(jnp.int32),
        "scene": jnp.where(scene > 0, scene - _FIRST_OF[None, None], -1),
    }


def scene_captions(scene: Array) -> dict[str, Array]:
    """Puts into the words of `toy_grammar` what a picture shows: "a small red ring and a large blue star .".

    Every figure becomes "a" size colour noun, in the order given, joined by "and". What is -1 is left out; a figure
    whose class is -1 is not there.

    Args:
      scene: int [N, M, 3], size, colour and class, as `shapes` and `toy_grammar` return it.

    Returns:
      `tokens` and `tags` int32 [N, 5 M], closed with 0; `lengths` int32 [N].

    Raises:
      ValueError: another shape.
      TypeError: not integers.
    """
    checks.shape((None, None, 3), scene=scene)
    checks.integer(scene=scene)
    size, objects, _ = scene.shape
    exists = scene[..., 2] >= 0
    articles = jnp.full((size, objects, 1), _A, jnp.int32)
    joints = jnp.concatenate([exists[:, 1:], jnp.zeros((size, 1), bool)], axis=1)[..., None]
    words = [articles, scene + _FIRST_OF[None, None], jnp.where(joints, _AND, _DOT)]
    words = jnp.concatenate(words, axis=-1).astype(jnp.int32)
    present = jnp.concatenate([exists[..., None], scene >= 0, jnp.ones_like(joints)], axis=-1)
    present = (present & exists[..., None]).reshape(size, 5 * objects)
    place_tags = np.array([_DETERMINER, _ADJECTIVE, _ADJECTIVE, _NOUN, _CONJUNCTION], np.int32)
    tags = (
        jnp.broadcast_to(place_tags, words.shape)
        .at[..., 4]
        .set(jnp.where(joints[..., 0], _CONJUNCTION, _END))
    )
    length = 5 * objects
    return {
        "tokens": _closed_up(words.reshape(size, length), present, length),
        "tags": _closed_up(tags.reshape(size, length), present, length),
        "lengths": jnp.sum(present, axis=1, dtype=jnp.int32),
    }

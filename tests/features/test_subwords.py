import zlib

import numpy as np
import pytest

from emofuse.features.subwords import MAX_GRAMS, N_SLOTS, Subwords


def vocabulary() -> Subwords:
    words = ["i", "am", "so", "not", "glad", "!", "😀"]
    return Subwords({w: i for i, w in enumerate(words, start=1)}, n_grams=1000, n_pairs=500)


def test_slots_by_hand() -> None:
    rows = vocabulary().encode("Not glad")
    assert rows.shape == (2, N_SLOTS)
    assert rows.dtype == np.int32
    assert rows[:, 0].tolist() == [4, 5]
    assert rows[:, 1].tolist() == [1 + zlib.crc32(b"<s> not") % 500, 1 + zlib.crc32(b"not glad") % 500]
    grams = ["<no", "not", "ot>", "<not", "not>", "<not>"]
    assert rows[0, 2:8].tolist() == [1 + zlib.crc32(g.encode()) % 1000 for g in grams]
    assert not rows[0, 8:].any()


def test_a_word_that_is_not_known_keeps_its_letters_and_its_place() -> None:
    rows = vocabulary().encode("I am soooo glad")
    assert rows[:, 0].tolist() == [1, 2, 0, 5]
    known, stretched = vocabulary().encode("so"), rows[2]
    assert 1 + zlib.crc32(b"<so") % 1000 in known[0, 2:]
    assert stretched[2] == 1 + zlib.crc32(b"<so") % 1000


def test_a_long_word_keeps_its_short_n_grams() -> None:
    rows = vocabulary().encode("antidisestablishmentarianism")
    assert (rows[0, 2:] > 0).sum() == MAX_GRAMS


@pytest.mark.parametrize("text", ["", "   "])
def test_no_token_is_one_row_of_nothing(text: str) -> None:
    assert not vocabulary().encode(text).any()
    assert vocabulary().encode(text).shape == (1, N_SLOTS)


def test_words_of_a_reader_and_their_tokens_give_the_same_ids() -> None:
    words = ["I", "am", "not", "glad!"]
    rows, index = vocabulary().encode_words(words)
    np.testing.assert_array_equal(rows, vocabulary().encode(" ".join(words)))
    assert index.tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("I am glad", True),
        ("I am gladdd", True),  # two of three
        ("soooo glad", True),  # one of two
        ("ich bin so froh", False),  # one of four
        ("привет", False),
        ("!!!", False),  # punctuation is no word
        ("12 30", False),
        ("😀", True),
        ("", False),
    ],
)
def test_a_text_in_another_language_is_no_evidence(text: str, understood: bool) -> None:
    rows, index = vocabulary().encode_words(text.split())
    assert bool(len(rows)) is understood
    assert len(rows) == len(index)


def test_ids_stay_within_their_tables() -> None:
    rows = vocabulary().encode("What a strange, strange thing to say: glad?! " * 4)
    assert rows.min() >= 0
    assert rows[:, 1].max() <= 500
    assert rows[:, 2:].max() <= 1000
    assert len(rows) == 48
    assert len(vocabulary().encode("glad " * 90, max_words=50)) == 50


def test_coverage() -> None:
    assert vocabulary().coverage(["I am sad", "glad"]) == 0.75
    assert vocabulary().coverage([]) == 0.0

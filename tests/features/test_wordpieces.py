import numpy as np
import pytest

from emofuse.features.wordpieces import (
    KNOWN_SHARE,
    SPECIAL,
    UNKNOWN,
    WordPieces,
    basic_tokens,
    choose_pieces,
    split_token,
)

PIECES = [*SPECIAL, "i", "am", "so", "not", "glad", "##der", "##d", "!", "face", "with", "tears", "of", "joy", "'", "t"]
PIECES += ["g", "##l", "##a"]
INDEX = {piece: i for i, piece in enumerate(PIECES)}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't!", ["don", "'", "t", "!"]),
        ("  Übermut,\tnaïve\n", ["ubermut", ",", "naive"]),
        ("so😂glad", ["so", "face", "with", "tears", "of", "joy", "glad"]),
        ("thank you❤️", ["thank", "you", "heavy", "black", "heart"]),
        ("a\u200bb\x00", ["a", "b"]),
        ("$5 + 3%", ["$", "5", "+", "3", "%"]),
        ("", []),
    ],
)
def test_tokens(text, tokens):
    assert basic_tokens(text) == tokens


@pytest.mark.parametrize(
    ("token", "pieces"),
    [
        ("glad", ["glad"]),
        ("gladder", ["glad", "##der"]),
        ("gladd", ["glad", "##d"]),
        ("gla", ["g", "##l", "##a"]),  # the longest first, letters last
        ("gladx", ["[UNK]"]),  # a part that is not known takes the whole word
        ("x", ["[UNK]"]),
        ("glad" * 30, ["[UNK]"]),
    ],
)
def test_pieces_of_a_token(token, pieces):
    assert [PIECES[i] for i in split_token(token, INDEX)] == pieces


def test_it_agrees_with_the_library():
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(INDEX, unk_token="[UNK]", max_input_chars_per_word=100))
    library.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in ("I'm so glad!", "NOT gladder, gladd -- t't", "Größe: 5/10 (naïve)", "a-b_c  d\u00a0e", "i am  ... so"):
        assert WordPieces(INDEX).encode(text).tolist() == library.encode(text).ids, text


def test_nothing_is_one_unknown_piece_and_a_long_text_is_cut():
    pieces = WordPieces(INDEX)
    assert pieces.encode("").tolist() == [UNKNOWN]
    assert pieces.encode("glad " * 90, max_words=64).shape == (64,)
    assert pieces.encode("glad").dtype == np.int32


def test_words_of_a_reader_and_their_pieces():
    ids, words = WordPieces(INDEX).encode_words(["I'm", "so", "gladder!"])
    assert [PIECES[i] for i in ids] == ["i", "'", "[UNK]", "so", "glad", "##der", "!"]
    assert words.tolist() == [0, 0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("I am glad", True),
        ("so gladdd", True),  # one of two
        ("ich bin so froh", False),  # one of four
        ("привет", False),
        ("!!!", False),
        ("12 30", False),
        ("😂", True),
        ("", False),
    ],
)
def test_a_text_in_another_language_is_no_evidence(text, understood):
    assert KNOWN_SHARE == 0.5
    ids, words = WordPieces(INDEX).encode_words(text.split())
    assert bool(len(ids)) is understood
    assert len(ids) == len(words)


def test_the_pieces_that_are_kept():
    kept = choose_pieces(INDEX, ["not so glad glad", "glad so"], 11)
    assert kept[:4] == list(SPECIAL)
    letters = {"a", "d", "g", "l", "n", "o", "s", "t"}
    singles = [p for p in PIECES if p.removeprefix("##") in letters]
    assert set(kept[4 : 4 + len(singles)]) == set(singles)
    assert kept[4 + len(singles) :] == ["glad", "so"]
    assert len(choose_pieces(INDEX, [], 99)) == len(PIECES)


def test_coverage():
    assert WordPieces(INDEX).coverage(["I am gladder", "glad"]) == 0.75
    assert WordPieces(INDEX).coverage([]) == 0.0

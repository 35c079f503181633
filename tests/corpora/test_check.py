import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emofuse.corpora.check import MAX_LISTED, find_problems, summarise
from emofuse.corpora.utterance import Corpus, Utterance


def utterance(name: str, **fields: object) -> Utterance:
    return replace(Utterance(id=name, corpus="toy"), **fields)


def corpus(*utterances: Utterance, **fields: object) -> Corpus:
    return replace(Corpus("toy", utterances), **fields)


def test_summary_counts_by_hand() -> None:
    toy = corpus(
        utterance("a", label="happy", dialogue="d", speaker="x", split="train", text="hi", features={"text": 0}),
        utterance("b", label="happy", dialogue="d", index=1, speaker="y", split="train"),
        utterance("c", speaker="x", session="s1", split="test", audio=Path("c.wav")),
        features={"text": np.zeros((1, 4), dtype=np.float32)},
        licence="none",
    )
    summary = summarise(toy)
    assert summary == {
        "corpus": "toy",
        "licence": "none",
        "utterances": 3,
        "dialogues": 1,
        "labels": {"happy": 2, "none": 1},
        "speakers": {"x": 2, "y": 1},
        "sessions": {"none": 2, "s1": 1},
        "splits": {"test": 1, "train": 2},
        "with_text": 1,
        "with_audio": 1,
        "with_video": 0,
        "with_image": 0,
        "features": {"text": {"shape": [1, 4], "utterances": 1}},
    }
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize(
    ("utterances", "problem"),
    [
        ([utterance("a"), utterance("a")], "a: 2 utterances have this id"),
        (
            [utterance("a", dialogue="d", index=1), utterance("b", dialogue="d", index=1)],
            "b: index 1 of dialogue d follows index 1 (a)",
        ),
        (
            [utterance("a", dialogue="d", index=1), utterance("b", dialogue="d", index=0)],
            "b: index 0 of dialogue d follows index 1 (a)",
        ),
        (
            [utterance("a", dialogue="d", split="train"), utterance("b", dialogue="d", index=1, split="test")],
            "b: dialogue d is in split test, but a of it in train",
        ),
        ([utterance("a", label="hap")], "a: unknown label 'hap'; known: angry, happy"),
        ([utterance("a", split="valid")], "a: unknown split 'valid'; known: train, dev, test"),
        ([utterance("a", sex="F")], "a: unknown sex 'F'; known: female, male"),
        ([utterance("a", start_s=2.0, end_s=2.0)], "a: end_s 2.0 is not after start_s 2.0"),
        ([utterance("a", start_s=-1.0)], "a: start_s -1.0, end_s None; need finite times from 0 s"),
        ([utterance("a", media_start_s=2.0, media_end_s=1.0)], "a: media_end_s 1.0 is not after media_start_s 2.0"),
        ([utterance("a", video_start_s=0.0, video_end_s=float("inf"))], "a: video_start_s 0.0, video_end_s inf"),
        ([utterance("a", text=" ")], "a: empty text; an unknown text is None"),
        ([utterance("a", audio=Path("nowhere.wav"))], "a: no audio file nowhere.wav"),
        ([utterance("a", features={"text": 0})], "a: row 0 of text features, but the corpus has none"),
        ([], "toy: no utterances"),
    ],
)
def test_each_problem_is_one_line_that_names_the_utterance(utterances: list[Utterance], problem: str) -> None:
    (found,) = find_problems(corpus(*utterances))
    assert found.startswith(problem)
    assert "\n" not in found


def test_feature_rows_out_of_range_nan_and_infinity() -> None:
    rows = np.array([[0, 0], [np.nan, 0], [0, -np.inf]], dtype=np.float32)
    toy = corpus(*(utterance(f"u{row}", features={"speech": row}) for row in range(4)), features={"speech": rows})
    assert find_problems(toy) == [
        "u1: speech features hold NaN",
        "u2: speech features hold infinity",
        "u3: row 3 of speech features; there are 3 rows",
    ]
    assert find_problems(replace(toy, nan_allowed=("speech",)))[0].startswith("u2")


def test_sequences_are_looked_through_to_the_last_step() -> None:
    sequences = np.zeros((1, 3, 2), dtype=np.float32)
    sequences[0, 2, 1] = np.nan
    toy = corpus(utterance("u", features={"visual": 0}), features={"visual": sequences})
    assert find_problems(toy) == ["u: visual features hold NaN"]


def test_many_missing_files_are_listed_in_part_and_counted(tmp_path: Path) -> None:
    there = tmp_path / "there.wav"
    there.touch()
    missing = (utterance(f"u{i}", audio=tmp_path / f"{i}.wav") for i in range(MAX_LISTED + 7))
    found = find_problems(corpus(*missing, utterance("v", audio=there)))
    assert len(found) == MAX_LISTED + 1
    assert found[-1] == "toy: 7 more missing media files"


def test_isolated_clips_share_index_zero_and_a_sound_corpus_has_no_problems() -> None:
    dialogue = (utterance(f"d{i}", dialogue="d", index=i, start_s=float(i), end_s=i + 0.5) for i in range(3))
    assert find_problems(corpus(utterance("a", label="gratitude"), utterance("b", label="positive"), *dialogue)) == []

from pathlib import Path

import pytest

from emofuse.corpora import iemocap
from emofuse.errors import DataError

CODES = ("ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx")


def label_line(start: float, utterance_id: str, code: str) -> str:
    return f"[{start:.4f} - {start + 1.5:.4f}]\t{utterance_id}\t{code}\t[2.5000, 2.5000, 2.5000]"


def write_dialogue(root: Path, session: int, dialogue: str, turns: list[tuple[str, float, str]]) -> None:
    """Label and transcript files in the release's form, of turns (suffix, start, code)."""
    folder = root / f"Session{session}" / "dialog"
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    words = []
    for suffix, start, code in turns:
        labels += [
            label_line(start, f"{dialogue}_{suffix}", code),
            "C-E2:\tNeutral;\t()",
            "A-E3:\tval 3; act 2;\t()",
            "",
        ]
        words.append(f"{dialogue}_{suffix} [{start:08.4f}-{start + 1.5:08.4f}]: made up words of {suffix}")
    # The transcripts also have lines that belong to no utterance.
    words.insert(1, "M: [laughter] made up")
    for name, lines in (("EmoEvaluation", labels), ("transcriptions", words)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{dialogue}.txt").write_text("\n".join(lines) + "\n")
        # Archives made on a Mac bring such a file along, in another encoding.
        (folder / name / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    (folder / "EmoEvaluation" / "Categorical").mkdir(exist_ok=True)
    (folder / "EmoEvaluation" / "Categorical" / f"{dialogue}_e1_cat.txt").write_text("not a label file")


@pytest.fixture
def release(tmp_path) -> Path:
    one, two, five = ("Ses01" + "F_impro01", "Ses01" + "F_script01_1", "Ses05" + "M_script01_1b")
    # The files list the turns of one actor after those of the other.
    write_dialogue(tmp_path, 1, one, [("F000", 6.3, "neu"), ("F001", 20.0, "xxx"), ("M000", 8.25, "fru")])
    write_dialogue(tmp_path, 1, two, [(f"M{i:03}", 2.0 * i, code) for i, code in enumerate(CODES)])
    write_dialogue(tmp_path, 5, five, [("FXX0", 1.0, "exc")])
    return tmp_path


def test_speaker_is_the_suffix_letter_and_order_is_time(release):
    corpus = iemocap.read(release)
    assert corpus.name == "iemocap"
    first = corpus.utterances[:3]
    assert [u.id.rpartition("_")[2] for u in first] == ["F000", "M000", "F001"]
    assert [u.speaker for u in first] == ["Ses01F", "Ses01M", "Ses01F"]
    assert [u.sex for u in first] == ["female", "male", "female"]
    assert [u.index for u in first] == [0, 1, 2]
    assert {u.dialogue for u in first} == {"Ses01" + "F_impro01"}
    assert (first[1].start_s, first[1].end_s) == (8.25, 9.75)
    assert first[1].text == "made up words of M000"
    last = corpus.utterances[-1]
    assert (last.session, last.speaker, last.split) == ("Ses05", "Ses05F", None)


def test_every_code_of_the_label_files(release):
    scripted = iemocap.read(release).utterances[3:14]
    assert [u.original_label for u in scripted] == list(CODES)
    assert [u.label for u in scripted] == [
        *("angry", "happy", "excited", "sad", "neutral", "frustrated", "fearful", "surprised", "disgusted", "other"),
        None,
    ]


def test_scripted_and_improvised(release):
    dialogues = dict.fromkeys(u.dialogue for u in iemocap.read(release).utterances)
    assert [iemocap.is_improvised(dialogue) for dialogue in dialogues] == [True, False, False]
    with pytest.raises(DataError, match="need the form"):
        iemocap.is_improvised("dia0")
    names = ["Ses01F_script02_1", "Ses05M_script01_1b", "Ses03M_impro08a", "Ses02F_impro03"]
    assert [iemocap.script_of(name) for name in names] == [2, 1, 8, 3]


def test_root_may_be_the_folder_above(release, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "IEMOCAP_full_release").symlink_to(release)
    assert len(iemocap.read(outer).utterances) == 15


def test_media_are_named_where_their_folders_are(release):
    assert all(u.audio is None and u.video is None for u in iemocap.read(release).utterances)
    (release / "Session1" / "sentences" / "wav").mkdir(parents=True)
    (release / "Session1" / "dialog" / "avi" / "DivX").mkdir(parents=True)
    utterances = iemocap.read(release).utterances
    first = utterances[0]
    assert first.audio == release / "Session1" / "sentences" / "wav" / f"{first.dialogue}" / f"{first.id}.wav"
    # The wav file is the utterance's own; the video is the dialogue's and has to be cut.
    assert first.media_start_s is None
    assert first.video == release / "Session1" / "dialog" / "avi" / "DivX" / f"{first.dialogue}.avi"
    assert (first.video_start_s, first.video_end_s) == (first.start_s, first.end_s)
    assert utterances[-1].audio is None


def test_missing_transcript_is_no_error_here(release):
    (release / "Session5" / "dialog" / "transcriptions" / ("Ses05" + "M_script01_1b.txt")).unlink()
    assert iemocap.read(release).utterances[-1].text is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (label_line(1.0, "Ses05" + "M_script01_1b_F001", "joy"), "label is 'joy'; known: ang, "),
        (label_line(1.0, "Ses05" + "M_script01_1b_X001", "ang"), "need the form"),
        (label_line(1.0, "Ses05" + "M_impro09_F001", "ang"), "is not of dialogue"),
        ("[1.0 - 2.0] spaces, not tabs", "need '[start - end]'"),
    ],
)
def test_bad_label_lines(release, line, said):
    file = release / "Session5" / "dialog" / "EmoEvaluation" / ("Ses05" + "M_script01_1b.txt")
    file.write_text("% header\n\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        iemocap.read(release)
    assert str(caught.value).startswith(f"{file}: row 3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_sessions_or_no_labels(tmp_path):
    with pytest.raises(DataError, match="no folder Session1"):
        iemocap.read(tmp_path)
    (tmp_path / "Session2").mkdir()
    with pytest.raises(DataError, match=r"Session2.*EmoEvaluation: no label files"):
        iemocap.read(tmp_path)

"""IEMOCAP, the full release: five sessions of two actors, improvised and scripted dialogues.

Layout: ``Session1`` … ``Session5``, each with ``dialog/EmoEvaluation/*.txt`` (labels, times),
``dialog/transcriptions/*.txt``, ``dialog/avi/DivX/*.avi`` and ``sentences/wav/<dialogue>/*.wav``.

Three things to know of its ids, such as ``Ses01F_impro01_M000``: the letter after ``Ses01`` says who
wears the markers, so **the speaker is the suffix letter**; scripted dialogues repeat one script in
every session; and an avi file shows both actors side by side, so the speaker is one half of it.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from emofuse.corpora.tables import check_unique_ids, in_dialogue_order, parse_name, read_text
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.labels import NO_AGREEMENT

NAME = "iemocap"
LICENCE = "IEMOCAP licence: research only, not to be redistributed"
LABELS = {
    "ang": "angry",
    "hap": "happy",
    "exc": "excited",
    "sad": "sad",
    "neu": "neutral",
    "fru": "frustrated",
    "fea": "fearful",
    "sur": "surprised",
    "dis": "disgusted",
    "oth": "other",
}
"""IEMOCAP's codes; `NO_AGREEMENT` is no emotion and stands for no label."""

SEXES = {"F": "female", "M": "male"}

_ID = re.compile(r"(?P<dialogue>(?P<session>Ses\d\d)[FM]_(?:impro|script)\w+)_(?P<letter>[FM])\w+", re.ASCII)
_DIALOGUE = re.compile(r"(?P<session>Ses\d\d)[FM]_(?P<kind>impro|script)(?P<number>\d\d)\w*", re.ASCII)
_LABEL_LINE = re.compile(r"\[(?P<start>\d+\.\d+) - (?P<end>\d+\.\d+)\]\t(?P<id>\S+)\t(?P<code>\w+)\t\[.*\]\s*")
_TRANSCRIPT_LINE = re.compile(r"(?P<id>Ses\w+) \[\d+\.\d+-\d+\.\d+\]:(?P<text>.*)")


class Turn(NamedTuple):
    """What an utterance's id says.

    Attributes:
        dialogue: ``Ses01F_impro01``.
        session: ``Ses01``.
        speaker: ``Ses01M``: session and suffix letter.
        sex: ``female`` or ``male``.
    """

    dialogue: str
    session: str
    speaker: str
    sex: str


def parse_id(utterance_id: str, where: str) -> Turn:
    """Dialogue, session and speaker of an utterance.

    Args:
        utterance_id: For example ``Ses01F_impro01_M000``.
        where: File and row, for the error message.

    Raises:
        DataError: The id has another form.
    """
    match = _ID.fullmatch(utterance_id)
    if match is None:
        raise DataError(f"{where}: utterance id {utterance_id!r}; need the form Ses01F_impro01_M000")
    session, letter = match["session"], match["letter"]
    return Turn(match["dialogue"], session, session + letter, SEXES[letter])


def session_of(dialogue: str, where: str) -> str:
    """Session of a dialogue: ``Ses01`` of ``Ses01F_impro01``.

    Raises:
        DataError: The name has another form.
    """
    return _match_dialogue(dialogue, where)["session"]


def is_improvised(dialogue: str) -> bool:
    """Whether the actors improvised; scripted dialogues share their text between all sessions.

    Raises:
        DataError: It is not the name of an IEMOCAP dialogue.
    """
    return _match_dialogue(dialogue, NAME)["kind"] == "impro"


def script_of(dialogue: str) -> int:
    """Number of the script, or of the situation that was improvised on: 1 of ``Ses01F_script01_3``.

    Sessions share them.

    Raises:
        DataError: It is not the name of an IEMOCAP dialogue.
    """
    return int(_match_dialogue(dialogue, NAME)["number"])


def _match_dialogue(dialogue: str, where: str) -> re.Match[str]:
    match = _DIALOGUE.fullmatch(dialogue)
    if match is None:
        raise DataError(f"{where}: dialogue {dialogue!r}; need the form Ses01F_impro01 or Ses01F_script01_1")
    return match


def read(path: Path) -> Corpus:
    """Read the release.

    Wav files are named where ``sentences/wav`` is there, and avi files where ``avi/DivX`` is; that
    each of them exists, and has a transcript, is for a check of the corpus to say.

    Args:
        path: Folder of ``Session1`` … ``Session5``, or the one that holds ``IEMOCAP_full_release``.

    Raises:
        DataError: There is no session, or a label line is malformed.
    """
    nested = path / "IEMOCAP_full_release"
    root = nested if nested.is_dir() else path
    sessions = sorted(folder for folder in root.glob("Session[1-5]") if folder.is_dir())
    if not sessions:
        raise DataError(f"{path}: no folder Session1 … Session5; give the folder of IEMOCAP's full release")
    utterances = [utterance for session in sessions for utterance in _read_session(session)]
    check_unique_ids(utterances, path)
    return Corpus(NAME, in_dialogue_order(utterances, path), licence=LICENCE)


def _read_session(folder: Path) -> list[Utterance]:
    files = _visible_files(folder / "dialog" / "EmoEvaluation", "*.txt")
    if not files:
        raise DataError(f"{folder / 'dialog' / 'EmoEvaluation'}: no label files; need one .txt file a dialogue")
    transcripts: dict[str, str] = {}
    for file in _visible_files(folder / "dialog" / "transcriptions", "*.txt"):
        transcripts.update(_read_transcript(file))
    return [
        _with_media(replace(utterance, text=transcripts.get(utterance.id)), folder)
        for file in files
        for utterance in _read_labels(file)
    ]


def _visible_files(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder without the ``._*`` ones that the release's archive carries along."""
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))


def _read_transcript(file: Path) -> dict[str, str]:
    """Utterance id to words; lines of another shape (``M: …``, overlaps) belong to no utterance."""
    matches = (_TRANSCRIPT_LINE.fullmatch(line) for line in read_text(file).splitlines())
    return {match["id"]: match["text"].strip() for match in matches if match and match["text"].strip()}


def _read_labels(file: Path) -> list[Utterance]:
    """Utterances of a dialogue in order of time; the file lists one actor's after the other's."""
    utterances: list[Utterance] = []
    for row, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.startswith("["):
            continue
        match = _LABEL_LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{file}: row {row}: {line[:60]!r}; need '[start - end]', id, label and '[v, a, d]' with tabs"
            )
        code = parse_name(match["code"], (*LABELS, NO_AGREEMENT), file, row, "label")
        turn = parse_id(match["id"], f"{file}: row {row}")
        if turn.dialogue != file.stem:
            raise DataError(f"{file}: row {row}: utterance {match['id']} is not of dialogue {file.stem}")
        utterances.append(
            Utterance(
                id=match["id"],
                corpus=NAME,
                label=LABELS.get(code),
                original_label=code,
                dialogue=turn.dialogue,
                speaker=turn.speaker,
                session=turn.session,
                sex=turn.sex,
                start_s=float(match["start"]),
                end_s=float(match["end"]),
            )
        )
    utterances.sort(key=lambda utterance: (utterance.start_s, utterance.end_s, utterance.id))
    return [replace(utterance, index=index) for index, utterance in enumerate(utterances)]


def _with_media(utterance: Utterance, folder: Path) -> Utterance:
    wavs = folder / "sentences" / "wav"
    if wavs.is_dir():
        utterance = replace(utterance, audio=wavs / f"{utterance.dialogue}" / f"{utterance.id}.wav")
    videos = folder / "dialog" / "avi" / "DivX"
    if videos.is_dir():
        utterance = replace(
            utterance,
            video=videos / f"{utterance.dialogue}.avi",
            video_start_s=utterance.start_s,
            video_end_s=utterance.end_s,
        )
    return utterance

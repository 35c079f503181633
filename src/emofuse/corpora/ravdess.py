"""RAVDESS, speech part (Livingstone & Russo 2018): 24 actors, 60 performances each, English.

A file name is ``MM-CC-EE-II-SS-RR-AA``: modality (01 picture and sound, 02 picture, 03 sound),
channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor (odd: male). The files
of one performance become one utterance. Both statements are spoken in every emotion, so the words
carry nothing.
"""

import re
from pathlib import Path

from emofuse.corpora.filenames import AUDIO_SUFFIXES, match_name, media_files
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "ravdess"

LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

PICTURE_AND_SOUND, PICTURE, SOUND = "01", "02", "03"
SPEECH = "01"

_NAME_PATTERN = re.compile(
    r"(?P<modality>0[123])-(?P<performance>(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
    r"-(?P<statement>0[12])-(?P<repetition>0[12])-(?P<actor>\d\d))"
)
_CONVENTION = "MM-CC-EE-II-SS-RR-AA, for example 03-01-05-01-02-01-16 (modality to actor)"


def read(path: Path) -> Corpus:
    """Read the speech part of RAVDESS; songs are left out.

    Args:
        path: Folder of the files, flat or in ``Actor_XX`` folders; .wav, .flac or .mp4.

    Raises:
        DataError: There is no clip of speech, or a file name does not fit.
    """
    wanted = "RAVDESS clips of speech named as 03-01-05-01-02-01-16.wav"
    performances: dict[str, dict[str, Path]] = {}
    for clip in media_files(path, (*AUDIO_SUFFIXES, ".mp4"), wanted):
        parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
        _check_modality(clip, parts["modality"])
        if parts["channel"] == SPEECH:
            performances.setdefault(parts["performance"], {}).setdefault(parts["modality"], clip)
    if not performances:
        raise DataError(f"{path}: only songs here; need {wanted}")
    utterances = tuple(_utterance(clips) for clips in performances.values())
    return Corpus(NAME, utterances, licence="CC BY-NC-SA 4.0")


def _check_modality(clip: Path, modality: str) -> None:
    is_video = clip.suffix.lower() == ".mp4"
    if is_video == (modality == SOUND):
        need = "03" if clip.suffix.lower() in AUDIO_SUFFIXES else "01 or 02"
        raise DataError(f"{clip}: modality {modality} of a {clip.suffix} file; need {need}")


def _utterance(clips: dict[str, Path]) -> Utterance:
    """One performance; `clips` maps its modalities to files."""
    clip = next(clips[modality] for modality in (SOUND, PICTURE_AND_SOUND, PICTURE) if modality in clips)
    parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
    return Utterance(
        id=clip.stem,
        corpus=NAME,
        label=LABELS[parts["emotion"]],
        original_label=parts["emotion"],
        speaker=parts["actor"],
        sex="male" if int(parts["actor"]) % 2 else "female",
        text=STATEMENTS[parts["statement"]],
        audio=clips.get(SOUND) or clips.get(PICTURE_AND_SOUND),
        video=clips.get(PICTURE_AND_SOUND) or clips.get(PICTURE),
    )

"""SAVEE (Haq & Jackson 2009): 480 clips, four male speakers of British English, seven emotions.

A file name is ``a01`` in a speaker's folder, or ``DC_a01``: speaker, emotion, number of the
sentence. The sentences differ from emotion to emotion, but the release lists them only in part:
`Utterance.text` is None.
"""

import re
from pathlib import Path

from emofuse.corpora.filenames import audio_files, first_of_each_id, match_name
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "savee"

LABELS = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}

SPEAKERS = ("DC", "JE", "JK", "KL")

_NAME_PATTERN = re.compile(rf"(?:(?P<speaker>{'|'.join(SPEAKERS)})_)?(?P<sentence>(?P<emotion>{'|'.join(LABELS)})\d\d)")
_CONVENTION = f"DC_a01 or, in a folder DC, a01 (speaker, emotion {' '.join(LABELS)}, two digits)"


def read(path: Path) -> Corpus:
    """Read SAVEE.

    Args:
        path: The corpus' folder, its ``AudioData`` folder, or a flat folder of ``DC_a01.wav``.

    Raises:
        DataError: There is no clip, or a file name or a speaker's folder does not fit.
    """
    clips = audio_files(path, "SAVEE clips named as DC_a01.wav or DC/a01.wav")
    return Corpus(NAME, first_of_each_id(map(_utterance, clips)), licence="free for research")


def _utterance(clip: Path) -> Utterance:
    parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
    speaker = parts["speaker"] or clip.parent.name
    if speaker not in SPEAKERS:
        raise DataError(f"{clip}: no speaker in the name or folder {clip.parent.name!r}; need {', '.join(SPEAKERS)}")
    return Utterance(
        id=f"{speaker}_{parts['sentence']}",
        corpus=NAME,
        label=LABELS[parts["emotion"]],
        original_label=parts["emotion"],
        speaker=speaker,
        sex="male",
        audio=clip,
    )

"""TESS, the Toronto emotional speech set (Pichora-Fuller & Dupuis 2020): 2800 clips, two actresses, English.

A file name is ``OAF_back_angry``: speaker (older or younger adult female), word, emotion. Each clip
says "Say the word ..." with one of 200 words, every word in every emotion.
"""

import re
from pathlib import Path

from emofuse.corpora.filenames import audio_files, first_of_each_id, match_name
from emofuse.corpora.utterance import Corpus, Utterance

NAME = "tess"

LABELS = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",
    "sad": "sad",
}
"""``ps`` is "pleasant surprise"."""

# The release names one clip of the older actress OA_bite_neutral.
SPEAKERS = {"OAF": "OAF", "OA": "OAF", "YAF": "YAF"}

_NAME_PATTERN = re.compile(rf"(?P<speaker>{'|'.join(SPEAKERS)})_(?P<word>[A-Za-z'-]+)_(?P<emotion>{'|'.join(LABELS)})")
_CONVENTION = f"SSS_word_emotion, for example OAF_back_angry (speaker OAF or YAF, emotion {', '.join(LABELS)})"


def read(path: Path) -> Corpus:
    """Read TESS.

    Args:
        path: Folder of the clips, flat or in folders by speaker and emotion.

    Raises:
        DataError: There is no clip, or a file name does not fit.
    """
    clips = audio_files(path, "TESS clips named as OAF_back_angry.wav")
    return Corpus(NAME, first_of_each_id(map(_utterance, clips)), licence="CC BY-NC-ND 4.0")


def _utterance(clip: Path) -> Utterance:
    parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
    speaker = SPEAKERS[parts["speaker"]]
    return Utterance(
        id=f"{speaker}_{parts['word']}_{parts['emotion']}",
        corpus=NAME,
        label=LABELS[parts["emotion"]],
        original_label=parts["emotion"],
        speaker=speaker,
        sex="female",
        text=f"Say the word {parts['word']}",
        audio=clip,
    )

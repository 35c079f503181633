"""CREMA-D (Cao et al. 2014): 7442 clips, 91 actors, twelve English sentences, six emotions.

A file name is ``1001_DFA_ANG_XX``: actor, sentence, emotion the actor was asked for, intensity.
"""

import re
from pathlib import Path

from emofuse.corpora.filenames import audio_files, first_of_each_id, match_name
from emofuse.corpora.tables import FIRST_ROW, parse_name, read_rows
from emofuse.corpora.utterance import Corpus, Utterance

NAME = "crema-d"

LABELS = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}

SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}

DEMOGRAPHICS = "VideoDemographics.csv"

# The release names one clip 1040_ITH_SAD_X, with a single X.
_NAME_PATTERN = re.compile(
    rf"(?P<actor>\d{{4}})_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>{'|'.join(LABELS)})_(?:LO|MD|HI|XX?)"
)
_CONVENTION = "AAAA_SSS_EEE_II, for example 1001_DFA_ANG_XX (actor, sentence, emotion, intensity)"


def read(path: Path) -> Corpus:
    """Read CREMA-D.

    Args:
        path: The corpus' folder or its ``AudioWAV`` folder. The actors' sexes are read where
            ``VideoDemographics.csv`` lies in either.

    Raises:
        DataError: There is no clip, or a file name or the table does not fit.
    """
    clips = audio_files(path, "CREMA-D clips named as 1001_DFA_ANG_XX.wav")
    sexes = _sexes(path)
    licence = "ODbL 1.0 (database), DbCL 1.0 (contents)"
    return Corpus(NAME, first_of_each_id(_utterance(clip, sexes) for clip in clips), licence=licence)


def _sexes(path: Path) -> dict[str, str]:
    """Actor to sex; empty when the table is not there."""
    for table in (path / DEMOGRAPHICS, path.parent / DEMOGRAPHICS):
        if table.is_file():
            rows = enumerate(read_rows(table, ("ActorID", "Sex")), start=FIRST_ROW)
            return {
                cells["ActorID"]: parse_name(cells["Sex"], ("Female", "Male"), table, row, "Sex").lower()
                for row, cells in rows
            }
    return {}


def _utterance(clip: Path, sexes: dict[str, str]) -> Utterance:
    parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
    return Utterance(
        id=clip.stem,
        corpus=NAME,
        label=LABELS[parts["emotion"]],
        original_label=parts["emotion"],
        speaker=parts["actor"],
        sex=sexes.get(parts["actor"]),
        text=SENTENCES[parts["sentence"]],
        audio=clip,
    )

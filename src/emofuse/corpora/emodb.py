"""EMO-DB, the Berlin database of emotional speech (Burkhardt et al. 2005): 535 clips, 10 actors, German.

A file name is ``SStttEv``: speaker, sentence, emotion (a German initial), version. Every sentence
is spoken in every emotion, so the words carry nothing.
"""

import re
from pathlib import Path

from emofuse.corpora.filenames import audio_files, first_of_each_id, match_name
from emofuse.corpora.utterance import Corpus, Utterance

NAME = "emodb"

LABELS = {
    "W": "angry",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
    "A": "fearful",
    "E": "disgusted",
    "L": "bored",
}

SEXES = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}

SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

_NAME_PATTERN = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WFTNAEL])[a-z]")
_CONVENTION = "SStttEv, for example 03a01Fa (speaker, sentence, emotion W F T N A E or L, version)"


def read(path: Path) -> Corpus:
    """Read EMO-DB.

    Args:
        path: The corpus' folder or its ``wav`` folder; .wav or .flac.

    Raises:
        DataError: There is no clip, or a file name does not fit.
    """
    clips = audio_files(path, "EMO-DB clips named as 03a01Fa.wav")
    return Corpus(NAME, first_of_each_id(map(_utterance, clips)), licence="free for research")


def _utterance(clip: Path) -> Utterance:
    parts = match_name(clip, _NAME_PATTERN, _CONVENTION)
    return Utterance(
        id=clip.stem,
        corpus=NAME,
        label=LABELS[parts["emotion"]],
        original_label=parts["emotion"],
        speaker=parts["speaker"],
        sex=SEXES.get(parts["speaker"]),
        text=SENTENCES.get(parts["sentence"]),
        audio=clip,
    )

"""Corpora: utterances, labels and files, one reader a corpus. No tensors, no features computed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emofuse.corpora import (
    bclstm_pickle,
    crema_d,
    emodb,
    ferplus,
    goemotions,
    iemocap,
    iemocap_table,
    manifest,
    meld,
    meld_table,
    mmsa_pickle,
    mosi_table,
    ravdess,
    savee,
    tess,
)
from emofuse.corpora.merge import merge, part_folder
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError

__all__ = ["CORPORA", "Corpus", "Reader", "Utterance", "load_corpus"]


@dataclass(frozen=True)
class Reader:
    """A corpus that can be read.

    Attributes:
        name: Name on the command line and in recipes.
        description: What it is, in one line.
        expects: What the path must be, in one line.
        read: Path to corpus.
    """

    name: str
    description: str
    expects: str
    read: Callable[[Path], Corpus]


CORPORA: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            "iemocap",
            "IEMOCAP as released: acted dialogues, 10 speakers in 5 sessions",
            "folder of Session1 to Session5",
            iemocap.read,
        ),
        Reader(
            "iemocap-table",
            "IEMOCAP as a table: 7433 utterances of 151 dialogues with transcripts and prosody",
            "utterances.csv or its folder",
            iemocap_table.read,
        ),
        Reader(
            "meld",
            "MELD as released: dialogues of a television series, 7 emotions",
            "folder of train_sent_emo.csv and its kin, with the clips' folders",
            meld.read,
        ),
        Reader(
            "meld-table",
            "MELD as a table: 13,708 utterances with transcripts and prosody",
            "utterances.csv or its folder",
            meld_table.read,
        ),
        Reader(
            "mosi-table",
            "CMU-MOSI: sentiment in 93 monologues, speech, visual and text features",
            "folder of utterances.csv and features.npz",
            mosi_table.read,
        ),
        Reader(
            "emodb",
            "EMO-DB: German acted speech, 10 speakers, 7 emotions",
            "folder of 03a01Fa.wav and its kin",
            emodb.read,
        ),
        Reader(
            "ravdess",
            "RAVDESS: English acted speech, 24 speakers, 8 emotions",
            "folder of 03-01-01-01-01-01-01.wav and its kin",
            ravdess.read,
        ),
        Reader(
            "crema-d",
            "CREMA-D: English acted speech, 91 speakers, 6 emotions",
            "folder of AudioWAV",
            crema_d.read,
        ),
        Reader(
            "tess",
            "TESS: English acted words, 2 speakers, 7 emotions",
            "folder of OAF_back_angry.wav and its kin",
            tess.read,
        ),
        Reader(
            "savee",
            "SAVEE: British English acted speech, 4 speakers, 7 emotions",
            "folder of AudioData, or of DC_a01.wav and its kin",
            savee.read,
        ),
        Reader(
            "goemotions",
            "GoEmotions: Reddit comments, 27 emotions and neutral",
            "folder of train.tsv, dev.tsv, test.tsv and labels.txt",
            goemotions.read,
        ),
        Reader(
            "ferplus",
            "FER+: 35,714 faces with ten votes each over 8 emotions",
            "folder of votes.csv and sheet-NN.png, or of fer2013new.csv and FER2013Train and its kin",
            ferplus.read,
        ),
        Reader(
            "manifest",
            "your own corpus as one table",
            "a .csv, .jsonl or .parquet file",
            manifest.read,
        ),
        Reader(
            "bclstm-pickle",
            "IEMOCAP features in the pickle of bc-LSTM and DialogueRNN",
            "the .pkl file",
            bclstm_pickle.read,
        ),
        Reader(
            "mmsa-pickle",
            "CMU-MOSI, CMU-MOSEI or CH-SIMS features in the pickle of MMSA",
            "the .pkl file",
            mmsa_pickle.read,
        ),
    )
}
"""Name to reader."""


def check_name(name: str) -> None:
    """Raise ConfigError, listing the known names, unless each name in ``A`` or ``A+B`` is one of `CORPORA`."""
    for part in name.split("+"):
        if part not in CORPORA:
            raise ConfigError(f"unknown corpus {part!r}; known: {', '.join(CORPORA)}")


def load_corpus(name: str, path: str | Path) -> Corpus:
    """Read the corpus of that name.

    Args:
        name: A name of `CORPORA`, or several as ``emodb+ravdess``.
        path: Folder or file, as `Reader.expects` says; for several, the folder of their folders.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
        DataError: The path does not exist, or what it holds is not that corpus.
    """
    check_name(name)
    path = Path(path)
    if "+" in name:
        return merge([load_corpus(part, part_folder(path, part)) for part in name.split("+")])
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {name} needs: {CORPORA[name].expects}")
    return CORPORA[name].read(path)

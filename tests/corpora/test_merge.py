from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from emofuse.corpora import load_corpus
from emofuse.corpora.merge import merge, part_folder
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError


def corpus(name: str) -> Corpus:
    """Two utterances of a dialogue and a clip of which nothing is known, with stored speech features."""
    turns = tuple(
        Utterance(
            f"u{i}",
            name,
            "happy",
            "hap",
            dialogue="d1",
            index=i,
            speaker=f"s{i}",
            session="Ses01",
            sex="female",
            split=("train", "test")[i],
            text=f"word {i}",
            audio=Path(name) / f"{i}.wav",
            features={"speech": i},
        )
        for i in range(2)
    )
    features = {"speech": np.zeros((2, 3), np.float32)}
    return Corpus(name, (*turns, Utterance("clip", name)), features, {"speech": ("a", "b", "c")}, ("speech",), "free")


def test_names_get_the_corpus_in_front() -> None:
    merged = merge([corpus("emodb"), corpus("savee")])
    assert merged.name == "emodb+savee"
    assert [u.id for u in merged.utterances[:3]] == ["emodb-u0", "emodb-u1", "emodb-clip"]
    last = merged.utterances[4]
    assert (last.id, last.dialogue, last.speaker, last.session) == ("savee-u1", "savee-d1", "savee-s1", "savee-Ses01")
    assert len({u.id for u in merged.utterances}) == 6
    assert {u.dialogue for u in merged.utterances} == {"emodb-d1", "savee-d1", None}
    clip = merged.utterances[2]
    assert (clip.dialogue, clip.speaker, clip.session) == (None, None, None)


def test_everything_else_is_kept() -> None:
    before, after = corpus("emodb").utterances[1], merge([corpus("savee"), corpus("emodb")]).utterances[4]
    for name in ("corpus", "label", "original_label", "index", "sex", "split", "text", "audio"):
        assert getattr(after, name) == getattr(before, name)


def test_stored_features_are_left_behind() -> None:
    merged = merge([corpus("emodb"), corpus("savee")])
    assert all(u.features == {} for u in merged.utterances)
    assert (merged.features, merged.feature_names, merged.nan_allowed) == ({}, {}, ())
    assert merged.licence == "free; free"


def test_the_folder_of_a_part(tmp_path: Path) -> None:
    (tmp_path / "meld").mkdir()
    assert part_folder(tmp_path, "meld") == tmp_path / "meld"
    assert part_folder(tmp_path, "meld-table") == tmp_path / "meld"
    (tmp_path / "meld-table").mkdir()
    assert part_folder(tmp_path, "meld-table") == tmp_path / "meld-table"


@pytest.mark.parametrize("name", ["emodb", "iemocap-table"])
def test_a_missing_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        part_folder(tmp_path, name)
    assert str(caught.value) == f"{tmp_path}: no folder {name}, need one folder a corpus"


def write_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.zeros(160, dtype=np.float32), 16000)


def test_two_corpora_are_loaded_as_one(tmp_path: Path) -> None:
    for name in ("emodb/wav/03a01Fa.wav", "emodb/wav/08b10Wa.wav", "savee/DC_h01.wav", "savee/JK/sa02.wav"):
        write_clip(tmp_path / name)
    merged = load_corpus("emodb+savee", tmp_path)
    assert merged.name == "emodb+savee"
    assert {u.id: (u.label, u.speaker) for u in merged.utterances} == {
        "emodb-03a01Fa": ("happy", "emodb-03"),
        "emodb-08b10Wa": ("angry", "emodb-08"),
        "savee-DC_h01": ("happy", "savee-DC"),
        "savee-JK_sa02": ("sad", "savee-JK"),
    }
    assert merged.utterances[0].audio == tmp_path / "emodb" / "wav" / "03a01Fa.wav"
    assert [u.corpus for u in merged.utterances] == ["emodb", "emodb", "savee", "savee"]


def test_errors_of_a_part_are_those_of_its_reader(tmp_path: Path) -> None:
    (tmp_path / "emodb").mkdir()
    (tmp_path / "savee").mkdir()
    with pytest.raises(DataError, match=r"emodb: .*need EMO-DB clips"):
        load_corpus("emodb+savee", tmp_path)
    with pytest.raises(ConfigError, match="unknown corpus 'savvy'"):
        load_corpus("emodb+savvy", tmp_path)

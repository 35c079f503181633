from pathlib import Path

import pytest

from emofuse.corpora import (
    CORPORA,
    bclstm_pickle,
    crema_d,
    emodb,
    ferplus,
    goemotions,
    iemocap,
    iemocap_table,
    load_corpus,
    manifest,
    meld,
    meld_table,
    mmsa_pickle,
    mosi_table,
    ravdess,
    savee,
    tess,
)
from emofuse.errors import ConfigError, DataError

MODULES = {
    "iemocap": iemocap,
    "iemocap-table": iemocap_table,
    "meld": meld,
    "meld-table": meld_table,
    "mosi-table": mosi_table,
    "emodb": emodb,
    "ravdess": ravdess,
    "crema-d": crema_d,
    "tess": tess,
    "savee": savee,
    "goemotions": goemotions,
    "ferplus": ferplus,
    "manifest": manifest,
    "bclstm-pickle": bclstm_pickle,
    "mmsa-pickle": mmsa_pickle,
}


def test_the_table_names_each_reader_once_and_each_reader_knows_its_name() -> None:
    assert list(CORPORA) == list(MODULES)
    for name, module in MODULES.items():
        assert CORPORA[name].name == name
        assert CORPORA[name].read is module.read
        assert name == module.NAME


def test_descriptions_are_one_line() -> None:
    for reader in CORPORA.values():
        for text in (reader.description, reader.expects):
            assert text
            assert "\n" not in text


def test_load_corpus_reads(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id,label\na,happy\n")
    corpus = load_corpus("manifest", tmp_path / "table.csv")
    assert (corpus.name, [u.label for u in corpus.utterances]) == ("manifest", ["happy"])


def test_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown corpus 'iemocp'; known: iemocap, iemocap-table, meld"):
        load_corpus("iemocp", tmp_path)


def test_missing_path_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such file or folder; savee needs: folder of AudioData"):
        load_corpus("savee", tmp_path / "nowhere")

import json
import sys
from pathlib import Path

import pytest
import torch

from emofuse.errors import ConfigError, DataError
from emofuse.features import hub

transformers = pytest.importorskip("transformers")
import huggingface_hub  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


@pytest.fixture
def bert(tmp_path) -> Path:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    folder = tmp_path / "bert"
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_a_folder_is_itself_and_its_weights_are_loaded(bert):
    assert hub.fetch(bert) == hub.fetch(str(bert)) == bert
    model = hub.load_model(bert)
    assert not model.training
    saved = load_file(bert / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())


def test_half_precision_weights_are_computed_in_float32(bert, tmp_path):
    transformers.BertModel.from_pretrained(bert).half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in hub.load_model(tmp_path / "half").parameters()} == {torch.float32}


def test_weights_in_shards(bert, tmp_path):
    transformers.BertModel.from_pretrained(bert).save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    folder = hub.fetch(tmp_path / "shards")
    names = [name for name in hub.fingerprint(folder) if name.endswith(".safetensors")]
    assert len(names) > 1
    hub.load_model(folder)
    (folder / names[0]).unlink()
    with pytest.raises(DataError, match=r"no weights; need model.safetensors"):
        hub.fetch(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(DataError, match=r"damaged index of weights"):
        hub.fetch(folder)


def test_fingerprint_changes_with_weights_and_configuration(bert):
    before = hub.fingerprint(bert, "vocab.txt")
    assert set(before) == {"config.json", "model.safetensors"}
    (bert / "vocab.txt").write_text("a")
    after = hub.fingerprint(bert, "vocab.txt")
    assert after == {**before, "vocab.txt": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    weights = load_file(bert / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, bert / "model.safetensors")
    assert hub.fingerprint(bert)["model.safetensors"] != before["model.safetensors"]


def test_a_pickle_is_refused(bert):
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(DataError) as error:
        hub.fetch(bert)
    assert str(error.value) == (
        f"{bert}: weights only as a pickle (pytorch_model.bin), which could run code; need model.safetensors: "
        "name a revision that has it (owner/name@refs/pr/N), or convert the model by save_pretrained"
    )


def test_code_of_a_model_is_not_run(bert):
    """A folder that brings its own classes, as trust_remote_code would run them."""
    mark = bert / "was-run"
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Mine:\n    pass\n"
    (bert / "mine.py").write_text(code)
    config = json.loads((bert / "config.json").read_text())
    auto_map = {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine", "AutoTokenizer": ["mine.Mine", None]}
    (bert / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": auto_map}))
    (bert / "vocab.txt").touch()
    for load in (hub.load_config, hub.load_model, hub.load_tokenizer):
        with pytest.raises(DataError, match=r"transformers cannot load it"):
            load(bert)
    assert not mark.exists()


def test_missing_weights_are_not_filled_with_random_numbers(bert):
    weights = load_file(bert / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 of the network's weights, first encoder\.layer\.1\.output\.dense"):
        hub.load_model(bert)


def test_a_missing_pooler_does_not_matter(bert):
    weights = {n: t for n, t in load_file(bert / "model.safetensors").items() if not n.startswith("pooler.")}
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    hub.load_model(bert)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": "no-such-network"}'),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"not safetensors at all"),
    ],
)
def test_damaged_files(bert, file, content):
    (bert / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        hub.load_model(bert)
    assert str(error.value).startswith(f"{bert}: transformers cannot load it (")
    assert "\n" not in str(error.value)


def test_other_folders(bert, tmp_path):
    with pytest.raises(DataError, match=r"no config\.json, so not a folder that transformers' save_pretrained wrote$"):
        hub.fetch(tmp_path)
    with pytest.raises(DataError, match=r"no preprocessor_config.json, which says whether"):
        hub.load_waveform_scaler(bert)
    (bert / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match=r"transformers cannot load it"):
        hub.load_waveform_scaler(bert)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_no_such_device(bert, device):
    with pytest.raises(ConfigError, match=rf"^device '{device}': \S.*$"):
        hub.load_model(bert, device)


def test_a_name_is_downloaded_and_a_revision_can_be_named(bert, monkeypatch):
    asked = []

    def download(repo, revision, allow_patterns):
        asked.append((repo, revision))
        assert not any(pattern.endswith((".bin", ".py")) or pattern == "*" for pattern in allow_patterns)
        return str(bert)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.fetch("owner/name") == bert
    assert hub.fetch("owner/name@refs/pr/6") == bert
    assert asked == [("owner/name", None), ("owner/name", "refs/pr/6")]


@pytest.mark.parametrize(
    "error", [LocalEntryNotFoundError("Got: no network\nmore"), HfHubHTTPError.__bases__[0]("no network")]
)
def test_without_network_there_is_one_line(monkeypatch, error):
    def download(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ConfigError) as raised:
        hub.fetch("owner/name")
    assert str(raised.value) == (
        "owner/name: no such folder, nor a model that the hub gave (no network); give a folder with config.json "
        "and model.safetensors, or the name of a hub model while there is a network"
    )


def test_a_path_that_is_no_name_does_not_ask_the_hub():
    with pytest.raises(ConfigError, match=r"^no/such/folder: no such folder, and its form is not owner/name; give a"):
        hub.fetch(Path("no/such/folder"))


def test_loading_leaves_the_settings_of_transformers_alone_and_prints_nothing(bert, capfd):
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    capfd.readouterr()
    hub.load_model(bert)
    assert capfd.readouterr() == ("", "")
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before


def test_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r'^transformers is not installed: pip install "emofuse\[hub\]"$'):
        hub.fetch(tmp_path)

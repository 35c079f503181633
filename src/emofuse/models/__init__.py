"""The systems by name. Models see tensors only: no path, device, loss or label name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import nn

from emofuse.errors import ConfigError
from emofuse.models.alignment import Alignment, AlignmentConfig
from emofuse.models.bclstm import BcLSTM, BcLSTMConfig, UnimodalContext
from emofuse.models.cma import CMA, CMAConfig
from emofuse.models.face_cnn import FaceCNN, FaceCNNConfig
from emofuse.models.linear import LinearClassifier, LinearConfig
from emofuse.models.minilm import MiniLM, MiniLMConfig
from emofuse.models.mlp import MLP, MLPConfig
from emofuse.models.mman import MMAN, EarlyFusion, LateFusion, MMANConfig, MultiModalFusion
from emofuse.models.mult import MulT, MulTConfig
from emofuse.models.tensor_fusion import TensorFusion, TensorFusionConfig
from emofuse.models.text_cnn import TextCNN, TextCNNConfig

_CMA_PAPER = "Krishna & Patil 2020"
_MMAN_PAPER = "Pan et al. 2020"
_MODALITIES = ("speech", "visual", "text")


@dataclass(frozen=True)
class System:
    """A named system.

    Attributes:
        paper: Where it is described.
        level: ``utterance``: an example is one utterance, inputs are sequences in time.
            ``conversation``: an example is a dialogue, inputs are one vector an utterance.
        modalities: At the paper's sizes.
        config: Configuration class, whose defaults are the paper's sizes.
        build: Configuration to network.
        overrides: Configuration values that make this system out of the family.
        recurrent: Whether LSTMs alone carry the past, so that `forward` takes their `memory` (see `goes_on`).
        extractor, pooling: The speech feature that the system is defined by, whatever a recipe gives the others.
    """

    paper: str
    level: str
    modalities: tuple[str, ...]
    config: type
    build: Callable[[Any], nn.Module]
    overrides: dict[str, Any]
    recurrent: bool = False
    extractor: str = ""
    pooling: str = "statistics"


def _cma(**overrides: Any) -> System:
    modalities = overrides.get("modalities", ("speech", "text"))
    return System(_CMA_PAPER, "utterance", modalities, CMAConfig, CMA, overrides)


def _mman(build: Callable[[MMANConfig], nn.Module], modalities: tuple[str, ...] = _MODALITIES) -> System:
    return System(_MMAN_PAPER, "conversation", modalities, MMANConfig, build, {}, recurrent=True)


def _bclstm(modality: str | None = None, **overrides: Any) -> System:
    """Level 2, or level 1 of a modality."""
    network = BcLSTM if modality is None else lambda c: UnimodalContext(c, modality)
    modalities = _MODALITIES if modality is None else (modality,)
    return System("Poria et al. 2017", "conversation", modalities, BcLSTMConfig, network, overrides, recurrent=True)


def _alignment(**overrides: Any) -> System:
    return System("Xu et al. 2019", "conversation", _MODALITIES, AlignmentConfig, Alignment, overrides)


def _mult(**overrides: Any) -> System:
    return System("Tsai et al. 2019", "conversation", _MODALITIES, MulTConfig, MulT, overrides)


MODELS: dict[str, System] = {
    "cma": _cma(),
    "cma-spectrogram": _cma(speech_input="spectrogram"),
    "cma-speech": _cma(modalities=("speech",)),
    "cma-speech-spectrogram": _cma(modalities=("speech",), speech_input="spectrogram"),
    "cma-text": _cma(modalities=("text",)),
    "clstm-speech": _mman(lambda c: EarlyFusion(c, ("speech",)), ("speech",)),
    "clstm-visual": _mman(lambda c: EarlyFusion(c, ("visual",)), ("visual",)),
    "clstm-text": _mman(lambda c: EarlyFusion(c, ("text",)), ("text",)),
    "clstm-ef": _mman(lambda c: EarlyFusion(c, tuple(c.feature_dims))),
    "clstm-lf": _mman(LateFusion),
    "clstm-mma": _mman(MultiModalFusion),
    "mman": _mman(MMAN),
    "bc-lstm-speech": _bclstm("speech"),
    "bc-lstm-visual": _bclstm("visual"),
    "bc-lstm-text": _bclstm("text"),
    "bc-lstm": _bclstm(),
    "sc-lstm-speech": _bclstm("speech", context="past"),
    "sc-lstm-visual": _bclstm("visual", context="past"),
    "sc-lstm-text": _bclstm("text", context="past"),
    "sc-lstm": _bclstm(context="past"),
    "alignment": _alignment(),
    "alignment-past": _alignment(context="past"),
    "mult": _mult(),
    "mult-past": _mult(context="past"),
    "tensor-fusion": System("Zadeh et al. 2017", "conversation", _MODALITIES, TensorFusionConfig, TensorFusion, {}),
    "minilm": System("Wang et al. 2020", "utterance", ("text",), MiniLMConfig, MiniLM, {}),
    "text-cnn": System("Kim 2014", "utterance", ("text",), TextCNNConfig, TextCNN, {}),
    "opensmile-svm": System(
        "Schuller et al. 2013", "utterance", ("speech",), LinearConfig, LinearClassifier, {}, extractor="is13"
    ),
    "linear-svm": System("Cortes & Vapnik 1995", "utterance", ("speech",), LinearConfig, LinearClassifier, {}),
    "speech-mlp": System("this project", "utterance", ("speech",), MLPConfig, MLP, {}),
    "voice-mlp": System(
        "this project", "utterance", ("speech",), MLPConfig, MLP, {}, extractor="voice", pooling="functionals"
    ),
    "face-cnn": System("Barsoum et al. 2016", "utterance", ("visual",), FaceCNNConfig, FaceCNN, {}),
}


def system(name: str) -> System:
    """The system of that name.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise ConfigError(f"unknown system {name!r}; known: {', '.join(MODELS)}") from None


def goes_on(name: str, config: Any) -> bool:
    """Whether a system can judge a conversation piece by piece at the cost of the new utterances alone.

    Its `forward` then takes ``memory``, see `emofuse.models.layers.PaddedLSTM`.
    """
    return system(name).recurrent and config.context != "both"


def make_config(name: str, **settings: Any) -> Any:
    """The configuration of a system: the paper's sizes, the system's own values, then `settings`.

    Lists (as JSON and TOML have them) become tuples.

    Raises:
        ConfigError: A setting is not one of the configuration's fields, or not of its type.
    """
    cls = system(name).config
    known = get_type_hints(cls)
    unknown = set(settings) - set(known)
    if unknown:
        raise ConfigError(f"unknown model setting {sorted(unknown)[0]!r} for {name}; known: {', '.join(known)}")
    values = {**settings, **system(name).overrides}
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"model setting {first['loc'][0]} for {name}: {first['msg']}") from None


def build(name: str, config: Any) -> nn.Module:
    """The network of a system with fresh weights, drawn from torch's global generator."""
    return system(name).build(config)


def n_parameters(model: nn.Module) -> int:
    """Number of weights, frozen ones too."""
    return sum(p.numel() for p in model.parameters())


def table() -> list[dict[str, Any]]:
    """Every system at the paper's sizes: name, paper, level, modalities and number of parameters."""
    return [
        {
            "name": name,
            "paper": entry.paper,
            "level": entry.level,
            "modalities": list(entry.modalities),
            "n_parameters": n_parameters(build(name, make_config(name))),
        }
        for name, entry in MODELS.items()
    ]

"""Graphs give what their networks give, at shapes that were not traced, with padding, without modalities, in pieces."""

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from emofuse.checkpoint import Checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.exporting.tracing import export_network, plain_network, without_weights
from emofuse.graph import GraphNetwork, open_graph
from emofuse.models import MODELS, build, make_config
from emofuse.models.cma import TextEncoder
from emofuse.models.network import tensors

DIMS = {"speech": 3, "visual": 5, "text": 4}
SMALL: dict[str, dict[str, Any]] = {
    "CMAConfig": {"filters": (3, 4, 5), "word_dim": 4, "n_bins": 6, "d_model": 6, "n_heads": 2},
    "MMANConfig": {"feature_dims": DIMS, "d_model": 6, "n_hidden": 7, "n_dense": 5},
    "BcLSTMConfig": {"feature_dims": DIMS, "n_hidden": 6, "n_dense": 5},
    "AlignmentConfig": {"feature_dims": DIMS, "n_hidden": 6},
    "MulTConfig": {"feature_dims": DIMS, "d_model": 4, "n_heads": 2, "n_blocks": 1},
    "TensorFusionConfig": {"feature_dims": DIMS, "n_text": 4, "n_other": 3, "n_dense": 5},
    "MiniLMConfig": {"n_pieces": 30, "max_pieces": 20, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_feed": 9},
    "TextCNNConfig": {"word_dim": 4, "filters": 3, "n_features": 5},
    "MLPConfig": {"n_features": 7, "n_hidden": 5},
    "LinearConfig": {"n_features": 7},
    "FaceCNNConfig": {"channels": (3, 4, 5)},
}
FAMILIES = {  # one of a class is enough where others differ in their names alone
    **{n: {} for n, s in MODELS.items() if s.level == "utterance" and n not in ("opensmile-svm", "voice-mlp")},
    **{n: {} for n in ("clstm-text", "clstm-ef", "clstm-lf", "clstm-mma", "mman", "bc-lstm", "bc-lstm-visual")},
    **{n: {} for n in ("sc-lstm", "alignment", "alignment-past", "mult", "mult-past", "tensor-fusion")},
}
VARIANTS = [
    *FAMILIES.items(),
    ("mman", {"turns": True}),
    ("mman", {"context": "both"}),
    ("mman", {"context": "none"}),
    ("clstm-mma", {"attention": "cosine"}),
    ("cma", {"scale": "linear"}),
]


def checkpoint(name: str, **settings: Any) -> Checkpoint:
    torch.manual_seed(0)
    config = make_config(name, **SMALL[MODELS[name].config.__name__], **settings)
    model = build(name, config).eval()
    for module in model.modules():  # as after training: at 0 and 1 batch normalisation does nothing
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for buffer in (module.running_mean, module.running_var):
                assert buffer is not None
                buffer.uniform_(0.5, 1.5)
    return Checkpoint(name, config, model, tuple("abcd"), {key: {} for key in MODELS[name].modalities})


@cache
def exported(name: str) -> tuple[Checkpoint, GraphNetwork]:
    """A checkpoint and its graph, made once for all tests; neither may be changed."""
    given = checkpoint(name)
    return given, GraphNetwork(export_network(given), name)


def inputs(given: Checkpoint, lengths: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """A batch, made by hand: of so many utterances, words or frames, or of so many samples times 1000."""
    rng, config, n = np.random.default_rng(seed), given.model_config, len(lengths)
    found: dict[str, np.ndarray] = {}
    if MODELS[given.system].level == "conversation":
        found["lengths"] = np.array(lengths)
        found |= {m: rng.normal(size=(n, max(lengths), DIMS[m])).astype(np.float32) for m in given.modalities}
        return found
    for m in given.modalities:
        steps = np.array(lengths)
        if given.system == "minilm":
            x = rng.integers(4, 30, (n, max(lengths)))
        elif given.system == "face-cnn":
            x = rng.integers(0, 256, (n, max(lengths), 48, 48)).astype(np.uint8)
        elif hasattr(config, "n_features") and given.system != "text-cnn":
            x, steps = rng.normal(size=(n, 7)).astype(np.float32), np.full(n, 7)
        elif m == "text":
            x = rng.normal(size=(n, max(lengths), 4)).astype(np.float32)
        elif config.speech_input == "waveform":
            steps = 1000 * np.array(lengths)
            x = rng.normal(size=(n, steps.max())).astype(np.float32)
        else:
            steps = 20 * np.array(lengths)
            x = rng.normal(size=(n, steps.max(), 6)).astype(np.float32)
        found |= {m: x, f"{m}_lengths": steps}
    return found


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_graph_gives_what_its_network_gives(name: str, settings: dict[str, Any]) -> None:
    if settings:
        given = checkpoint(name, **settings)
        graph = GraphNetwork(export_network(given), name)
    else:
        given, graph = exported(name)
    network = plain_network(given)
    assert (graph.level, graph.turns, graph.goes_on) == (network.level, network.turns, network.goes_on)
    assert graph.modalities == given.modalities
    for i, lengths in enumerate([(9, 3, 6, 1), (17,), (2, 2)]):  # none of them is traced, see BATCHES
        x = inputs(given, lengths, i)
        expected, found = network(x), graph(x)
        valid = np.ones(len(lengths), bool)
        if network.level == "conversation":
            valid = np.arange(max(lengths)) < np.array(lengths)[:, None]
        np.testing.assert_allclose(found.logits[valid], expected.logits[valid], atol=2e-5)
        np.testing.assert_allclose(graph.logits(x)[valid], expected.logits[valid], atol=2e-5)
        for ours, theirs in ((found.received, expected.received), (found.shares, expected.shares)):
            assert set(ours) == set(theirs)
            for m, weights in theirs.items():
                np.testing.assert_allclose(ours[m], weights, atol=2e-5)
        assert np.abs(expected.logits[valid]).max() > 1e-3


@pytest.mark.parametrize("name", ["cma", "cma-text", "cma-speech", "minilm", "text-cnn", "face-cnn", "bc-lstm", "mult"])
def test_padding_does_not_change_a_graph_s_logits(name: str) -> None:
    given, graph = exported(name)
    together = inputs(given, (9, 4))
    alone = {k: x[1:] for k, x in together.items()}
    for m in given.modalities:
        lengths = alone.get(f"{m}_lengths", alone.get("lengths"))
        assert lengths is not None
        alone[m] = alone[m][:, : lengths[0]]
        together[m][1, lengths[0] :] = 1  # what stands in the padding must not matter either
    of_both, of_one = graph(together).logits[1], graph(alone).logits[0]
    np.testing.assert_allclose(of_both[: len(of_one)] if name in ("bc-lstm", "mult") else of_both, of_one, atol=2e-5)


def test_a_modality_may_be_missing_from_a_row_or_from_all() -> None:
    given, graph = exported("cma")
    network, x = plain_network(given), inputs(given, (4, 3))
    x["speech_lengths"] = np.array([0, 3000])
    x["text_lengths"] = np.array([4, 0])
    np.testing.assert_allclose(graph(x).logits, network(x).logits, atol=2e-5)
    for m in ("speech", "text"):
        only = {m: x[m], f"{m}_lengths": np.array([x[m].shape[1]] * 2)}
        expected, found = network(only), graph(only)
        np.testing.assert_allclose(found.logits, expected.logits, atol=2e-5)
        assert not found.received[m].any()  # nobody asks for what stands alone


def test_too_short_a_clip_is_refused_as_the_network_refuses_it() -> None:
    given, graph = exported("cma-speech")
    network = plain_network(given)
    encoder = given.model.speech_encoder
    least = encoder.least_steps  # type: ignore[union-attr]
    for n, fits in ((least, True), (least - 1, False)):
        x = {"speech": np.ones((1, n), np.float32), "speech_lengths": np.array([n])}
        for one in (network, graph):
            if fits:
                assert np.isfinite(one(x).logits).all()
            else:
                with pytest.raises(ConfigError, match="too short for the convolutions"):
                    one(x)


@pytest.mark.parametrize("name", ["clstm-ef", "clstm-lf", "clstm-mma", "mman", "sc-lstm"])
def test_a_conversation_in_pieces_is_the_whole(name: str) -> None:
    given, graph = exported(name)
    whole = inputs(given, (7,))
    rng = np.random.default_rng(3)
    whole["present"] = rng.random((1, 7, 3)) < 0.7
    expected = plain_network(given)(whole).logits
    memory: dict[Any, Any] = {}
    pieces = []
    for first, end in ((0, 3), (3, 4), (4, 7)):
        piece = {k: x[:, first:end] for k, x in whole.items() if k != "lengths"}
        pieces.append(graph(piece | {"lengths": np.array([end - first])}, memory).logits)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=2e-5)
    assert memory


def test_a_graph_that_knows_one_length_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TextEncoder.forward

    def baked(self: TextEncoder, text: torch.Tensor, lengths: torch.Tensor) -> Any:
        states, lengths = forward(self, text, lengths)
        return states * float(text.shape[1]), lengths  # a number of Python's, which the trace takes for a constant

    monkeypatch.setattr(TextEncoder, "forward", baked)
    with pytest.raises(ConfigError, match=r"cma-text: its graph is .* off the network, at most 0.0001"):
        export_network(checkpoint("cma-text"))


def test_what_cannot_be_expressed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextEncoder, "forward", lambda self, text, lengths: (text.svd()[0], lengths))
    with pytest.raises(ConfigError, match="cma-text: cannot be expressed in ONNX"):
        export_network(checkpoint("cma-text"))


def test_a_graph_can_leave_its_weights_to_another_file() -> None:
    given = checkpoint("minilm")
    state = {f"model.{k}": v.numpy() for k, v in given.model.state_dict().items()}
    whole = export_network(given, fold=False)
    with pytest.raises(ConfigError, match=r"no weight of its own for model.nothing"):
        without_weights(whole, [*state, "model.nothing"])
    small = without_weights(whole, list(state))
    assert len(small) < len(whole) - sum(x.nbytes for x in state.values()) / 2
    x = inputs(given, (5, 2))
    doubled = {k: 2 * v for k, v in state.items()}
    for weights in (state, doubled):
        given.model.load_state_dict({k.removeprefix("model."): torch.from_numpy(v) for k, v in weights.items()})
        with torch.no_grad():
            expected = given.model(**tensors(x)).numpy()
        np.testing.assert_allclose(GraphNetwork(small, "small", weights)(x).logits, expected, atol=2e-5)
    with pytest.raises(DataError, match="small: not an ONNX model that onnxruntime can run"):
        open_graph(small, "small")


def test_a_graph_of_another_make_is_refused() -> None:
    with pytest.raises(DataError, match=r"x.onnx: not an ONNX model"):
        open_graph(b"no graph", "x.onnx")
    graph = onnx.load_from_string(export_network(checkpoint("speech-mlp")))
    del graph.metadata_props[:]
    with pytest.raises(DataError, match=r"x.onnx: not a graph that `emofuse export` made"):
        GraphNetwork(graph.SerializeToString(), "x.onnx")

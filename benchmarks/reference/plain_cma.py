"""CMA as most people would write it from the paper: plain, eager, float32. What `emofuse bench` compares ours with.

Every clip is padded or cut to 10 s, convolution, batch normalisation, ReLU and pooling are layers of their own, the
attention is `nn.MultiheadAttention`, the Bi-LSTM `nn.LSTM`. Sizes, strides and the number of weights are those of
`emofuse.models.cma`; a test gives it our weights and gets our logits. It imports nothing of emofuse.

Krishna & Patil, "Multimodal Emotion Recognition using Cross-Modal Attention and 1D Convolutional Neural Networks",
Interspeech 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 10 * SAMPLE_RATE
MAX_WORDS = 128
CHANNELS = (1, 64, 100, 100)
KERNELS = (3, 5, 7)
CONV_STRIDE, POOL, POOL_STRIDE = 4, 4, 2
WORD_DIM, D_MODEL, N_HEADS, N_BLOCKS, DROPOUT = 300, 100, 10, 2, 0.2


class AttentionBlock(nn.Module):
    """Layer norm, attention, feed-forward, with residuals."""

    def __init__(self) -> None:
        """Width `D_MODEL`."""
        super().__init__()
        self.norm_query, self.norm_context, self.norm_feed = (nn.LayerNorm(D_MODEL) for _ in range(3))
        self.attention = nn.MultiheadAttention(D_MODEL, N_HEADS, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(D_MODEL, D_MODEL), nn.ReLU(), nn.Linear(D_MODEL, D_MODEL))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(batch, n_q, d), (batch, n_k, d) -> (batch, n_q, d)."""
        context = self.norm_context(context)
        attended, _ = self.attention(self.norm_query(x), context, context)
        x = x + attended
        return x + self.feed_forward(self.norm_feed(x))


class PlainCMA(nn.Module):
    """Waveform, word vectors, or both, to logits; a single modality attends to itself."""

    def __init__(self, n_classes: int = 4, modalities: tuple[str, ...] = ("speech",)) -> None:
        """`modalities`: ``speech``, ``text`` or both, in this order."""
        super().__init__()
        self.modalities = modalities
        if "speech" in modalities:
            layers: list[nn.Module] = []
            for i, kernel in enumerate(KERNELS):
                layers.append(nn.Conv1d(CHANNELS[i], CHANNELS[i + 1], kernel, CONV_STRIDE, padding=kernel // 2))
                layers += [nn.BatchNorm1d(CHANNELS[i + 1]), nn.ReLU(), nn.MaxPool1d(POOL, POOL_STRIDE)]
            self.speech_cnn = nn.Sequential(*layers)
            self.speech_lstm = nn.LSTM(CHANNELS[-1], D_MODEL, batch_first=True, bidirectional=True)
            self.speech_project = nn.Linear(2 * D_MODEL, D_MODEL)
        if "text" in modalities:
            self.text_cnn = nn.Conv1d(WORD_DIM, D_MODEL, 1)
            self.text_lstm = nn.LSTM(D_MODEL, D_MODEL, batch_first=True, bidirectional=True)
            self.text_project = nn.Linear(2 * D_MODEL, D_MODEL)
        self.dropout = nn.Dropout(DROPOUT)
        self.attention = nn.ModuleDict(
            {m: nn.ModuleList(AttentionBlock() for _ in range(N_BLOCKS)) for m in modalities}
        )
        self.output = nn.Linear(2 * D_MODEL * len(modalities), n_classes)

    def forward(self, speech: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """(batch, CLIP_SAMPLES), (batch, MAX_WORDS, WORD_DIM) -> (batch, n_classes)."""
        states: dict[str, Tensor] = {}
        if speech is not None:
            h, _ = self.speech_lstm(self.speech_cnn(speech[:, None]).transpose(1, 2))
            states["speech"] = self.speech_project(self.dropout(h))
        if text is not None:
            h, _ = self.text_lstm(self.text_cnn(text.transpose(1, 2)).transpose(1, 2))
            states["text"] = self.text_project(self.dropout(h))
        pooled = []
        for modality, x in states.items():
            context = next((states[m] for m in states if m != modality), x)
            for block in self.attention[modality]:  # type: ignore[union-attr]
                x = block(x, context)
            pooled += [x.mean(dim=1), x.std(dim=1, correction=0)]
        return self.output(torch.cat(pooled, dim=1))


def pad_clips(waveforms: list[Tensor]) -> Tensor:
    """Waveforms (n_samples,) of any lengths -> (batch, CLIP_SAMPLES), padded with zeros or cut."""
    return torch.stack([F.pad(w[:CLIP_SAMPLES], (0, max(0, CLIP_SAMPLES - len(w)))) for w in waveforms])


def make_optimiser(model: nn.Module, learning_rate: float = 1e-3) -> torch.optim.Optimizer:
    """Adam as torch gives it when nothing else is asked for."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate)


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    speech: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
) -> float:
    """One step on a batch; returns its loss. `weight`: of the classes, (n_classes,)."""
    model.train()
    loss = F.cross_entropy(model(speech), labels, weight)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def copy_weights(ours: dict[str, Tensor], plain: PlainCMA) -> None:
    """Give the plain model the weights of ours, by the `state_dict` of `emofuse.models.cma.CMA`."""
    given: dict[str, Tensor] = {}
    for name, value in ours.items():
        head, *rest = name.split(".")
        if head == "speech_encoder" and rest[0] == "blocks":
            place = 4 * int(rest[1]) + (rest[2] == "norm")
            given[f"speech_cnn.{place}.{rest[3]}"] = value
        elif head in ("speech_encoder", "text_encoder"):
            layer = {"conv": "cnn"}.get(rest[0], rest[0])
            given[".".join([head.replace("encoder", layer), *rest[1:]])] = value
        elif head == "attention" and rest[2] in ("query", "key", "value"):
            joined = ".".join([head, *rest[:2], "attention", f"in_proj_{rest[3]}"])
            same = [ours[".".join([head, *rest[:2], kind, rest[3]])] for kind in ("query", "key", "value")]
            given[joined] = torch.cat(same)
        elif head == "attention" and rest[2] == "output":
            given[".".join([head, *rest[:2], "attention", "out_proj", rest[3]])] = value
        else:
            given[name] = value
    plain.load_state_dict(given)

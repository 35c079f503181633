"""Fine-tune a sentence encoder on GoEmotions, for recipes to use as a fixed feature of other corpora's words.

GoEmotions is Reddit: no utterance of a corpus of conversations, and none of their labels, is seen. The encoder's word
embeddings stay as they are; mean pooling and 28 independent yes-or-no questions. The test part is not read.

    python benchmarks/finetune_sentence.py ENCODER --data DATA/goemotions --out FOLDER
    emofuse benchmark recipes/mman-iemocap-sentence.toml --data DATA/iemocap --set features.text.beside=FOLDER
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from emofuse.corpora import load_corpus
from emofuse.corpora.goemotions import NAMES

MAX_TOKENS = 40
WARM_UP = 100


def batches(tokens: Sequence[list[int]], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of texts of like length, in random order."""
    order = np.argsort([len(t) + rng.uniform(-0.4, 0.4) for t in tokens])
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return [parts[i] for i in rng.permutation(len(parts))]


def pooled(encoder: nn.Module, tokens: Sequence[list[int]], half: bool) -> Tensor:
    """Mean of the last hidden states over each text's own tokens: (n_texts, hidden_size)."""
    longest = max(len(t) for t in tokens)
    ids = torch.tensor([t + [0] * (longest - len(t)) for t in tokens])
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in tokens])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def main() -> None:
    """Train, print what dev says, write the encoder and its tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="folder of a transformers text model, such as all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--half", action="store_true", help="bfloat16 arithmetic, where the processor has it")
    options = parser.parse_args()
    torch.set_num_threads(1)  # two OpenMP threads stall while another process uses a core
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.encoder)
    encoder = AutoModel.from_pretrained(options.encoder)
    head = nn.Linear(encoder.config.hidden_size, len(NAMES))
    nn.init.constant_(head.bias, -3.0)
    encoder.embeddings.requires_grad_(False)
    parts: dict[str, tuple[list[list[int]], Tensor]] = {}
    corpus = load_corpus("goemotions", options.data)
    for part in ("train", "dev"):
        chosen = [u for u in corpus.utterances if u.split == part]
        tokens = [tokenizer(u.text, truncation=True, max_length=MAX_TOKENS).input_ids for u in chosen]
        given = [set((u.original_label or "").split(",")) for u in chosen]
        parts[part] = tokens, torch.tensor([[float(name in names) for name in NAMES] for names in given])
    tokens, y = parts["train"]
    trained = [p for p in encoder.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": trained, "lr": options.learning_rate}, {"params": head.parameters(), "lr": 2e-3}], fused=True
    )
    n_steps = options.epochs * -(-len(tokens) // options.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARM_UP) * (1 - step / n_steps)
    )
    step, start = 0, time.perf_counter()
    for _ in range(options.epochs):
        for batch in batches(tokens, options.batch_size, rng):
            vectors = pooled(encoder.train(), [tokens[i] for i in batch], options.half)
            loss = F.binary_cross_entropy_with_logits(head(F.dropout(vectors, 0.1)), y[batch]) * len(NAMES)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            schedule.step()
            step += 1
            if step % 100 == 0:
                print(
                    f"step {step} of {n_steps}, {time.perf_counter() - start:.0f} s, loss {loss.item():.3f}", flush=True
                )
    encoder.eval()
    tokens, y = parts["dev"]
    with torch.inference_mode():
        found = torch.cat([head(pooled(encoder, tokens[i : i + 64], False)) for i in range(0, len(tokens), 64)])
    single = y.sum(1) == 1
    right = (found.argmax(1) == y.argmax(1))[single].float().mean()
    print(f"dev: {100 * right:.1f} % of {int(single.sum())} comments of one label right")
    encoder.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()

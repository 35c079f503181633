"""What settings are worth to a session that nobody has heard: a whole session of each training part is its dev.

The dev dialogues of the protocols are of sessions, and of speakers, that are trained on too. Here a fold leaves its
test session alone (it is never read), trains on three others and is scored on the fifth: at its best epoch and, since
the best of many epochs flatters, at the best mean of three in a row. Over all folds every session is dev once: what is
chosen by this is not chosen blindly of any of them.

    python benchmarks/session_dev.py recipes/mman-iemocap-sentence.toml --data DATA/iemocap --features FEATURES
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from emofuse.corpora import load_corpus
from emofuse.corpora.utterance import Utterance
from emofuse.labels import LabelSet, label_set
from emofuse.protocol.recipe import load_recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import Fold, labelled, protocol


def session_folds(utterances: Sequence[Utterance], classes: LabelSet) -> list[Fold]:
    """A fold a session that is tested; the next session is its dev."""
    members: dict[str, list[str]] = {}
    for u in labelled(utterances, classes):
        members.setdefault(u.session or "", []).append(u.id)
    names = sorted(members)
    folds = []
    for k, test in enumerate(names):
        dev = names[(k + 1) % len(names)]
        train = [i for name in names if name not in (test, dev) for i in members[name]]
        folds.append(Fold(f"{test}-{dev}", classes, tuple(train), tuple(members[dev]), tuple(members[test])))
    return folds


def main() -> None:
    """Print one line a system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)  # two OpenMP threads stall while another process uses a core
    recipe = load_recipe(options.recipe, options.set)
    corpus = load_corpus(recipe.corpus, options.data)
    inputs = Inputs(recipe, corpus, corpus.utterances, options.features)
    classes = label_set(protocol(recipe.protocol).labels or recipe.labels or "")
    for name in recipe.systems:
        best, steady = [], []
        for seed in range(options.seeds):
            for fold in session_folds(corpus.utterances, classes):
                history = FoldRun(inputs, fold, seed).train(name).result.history
                scores = np.array([entry[recipe.primary_metric] for entry in history])
                best.append(scores.max())
                steady.append(np.convolve(scores, np.full(3, 1 / 3), "valid").max())
        print(
            f"{name}: {recipe.primary_metric} on unheard sessions {100 * np.mean(best):.1f} at the best epoch, "
            f"{100 * np.mean(steady):.1f} over three; {options.seeds} seeds"
        )


if __name__ == "__main__":
    main()

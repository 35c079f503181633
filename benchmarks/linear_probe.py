"""What a linear model without context gets out of a recipe's features: train, dev and test beside each other.

A dev score far above the test score means that the stored features were fitted on the labels of the
training part, dev included, so that dev cannot choose between systems.

    python benchmarks/linear_probe.py recipes/mman-mosi.toml --data DATA/mosi
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from emofuse.corpora import load_corpus
from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.recipe import load_recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import make_folds


def main() -> None:
    """Print one line a fold, modality and part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--c", type=float, default=0.001, help="inverse strength of the regularisation")
    options = parser.parse_args()
    torch.set_num_threads(1)  # two OpenMP threads stall while another process uses a core
    recipe = load_recipe(options.recipe)
    corpus = load_corpus(recipe.corpus, options.data)
    inputs = Inputs(recipe, corpus, corpus.utterances)
    print("fold      modality  classes      train WA/UA    dev WA/UA     test WA/UA")
    for fold in make_folds(corpus, recipe.protocol, recipe.labels, options.seed):
        run = FoldRun(inputs, fold, options.seed)
        for modality, config in recipe.features.items():
            fitted, raw = run.fitted(modality, config), inputs.raw(modality, config)

            def part(ids: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
                ids = tuple(i for i in ids if i in raw.arrays)  # noqa: B023
                labels = [fold.classes.class_index(u.label, u.original_label) for u in map(inputs.by_id.get, ids)]  # noqa: B023
                return np.stack(fitted.transform([raw.arrays[i] for i in ids])), np.array(labels)  # noqa: B023

            model = LogisticRegression(C=options.c, max_iter=2000).fit(*part(fold.train))
            scores = []
            for ids in (fold.train, fold.dev, fold.test):
                x, y = part(ids)
                metrics = compute_metrics(y, model.predict_proba(x))
                scores.append(f"{metrics['wa']:.3f} / {metrics['ua']:.3f}")
            print(f"{fold.name:8s}  {modality:8s}  {len(fold.classes.classes):7d}  {'  '.join(scores)}", flush=True)


if __name__ == "__main__":
    main()

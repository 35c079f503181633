"""The floor of the text part: TF-IDF of words and pairs of words under a logistic regression.

The regularisation is chosen on dev; the test part is read once.

    python benchmarks/tfidf.py recipes/default-text.toml --data DATA
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from emofuse.corpora import load_corpus
from emofuse.protocol.metrics import compute_metrics, recalls
from emofuse.protocol.recipe import load_recipe
from emofuse.protocol.splits import make_folds
from emofuse.protocol.statistics import bootstrap_ci


def main() -> None:
    """Print dev scores of each strength, then the test scores of the best one with an interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", help="only this one of the recipe's corpora, for example goemotions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(options.recipe)
    corpus = load_corpus(recipe.corpus, options.data)
    fold = make_folds(corpus, recipe.protocol, recipe.labels, 0)[0]
    by_id = {u.id: u for u in corpus.utterances if options.corpus in (None, u.corpus)}

    def part(ids: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
        chosen = [by_id[i] for i in ids if i in by_id]
        labels = [fold.classes.class_index(u.label, u.original_label) for u in chosen]
        return [u.text or "" for u in chosen], np.array(labels)

    (train, y_train), (dev, y_dev), (test, y_test) = (part(ids) for ids in (fold.train, fold.dev, fold.test))
    print(f"{len(train)} train, {len(dev)} dev, {len(test)} test")
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    x = vectoriser.fit_transform(train)
    found: dict[float, LogisticRegression] = {}
    scores: dict[float, float] = {}
    for c in (0.5, 1.0, 2.0):
        found[c] = LogisticRegression(C=c, max_iter=400, class_weight="balanced").fit(x, y_train)
        scores[c] = compute_metrics(y_dev, found[c].predict_proba(vectoriser.transform(dev)))[recipe.primary_metric]
        print(f"C {c}: dev {recipe.primary_metric} {scores[c]:.4f}", flush=True)
    y_prob = found[max(scores, key=lambda c: scores[c])].predict_proba(vectoriser.transform(test))
    groups = [str(i) for i in range(len(y_test))]
    for name, value in compute_metrics(y_test, y_prob).items():
        low, high = bootstrap_ci(groups, y_test, y_prob, name)
        print(f"test {name} {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    values = recalls(y_test, y_prob.argmax(1), len(fold.classes.classes))
    print("recalls", dict(zip(fold.classes.classes, values, strict=True)))


if __name__ == "__main__":
    main()

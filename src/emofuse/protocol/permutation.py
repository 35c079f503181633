"""Labels dealt out anew by chance: what a system then knows of them, it knows from where it should not look."""

from dataclasses import replace

import numpy as np

from emofuse.batching import stable_seed
from emofuse.corpora.utterance import Corpus


def permute_labels(corpus: Corpus) -> Corpus:
    """The corpus with the labels and votes of the utterances that have any permuted among them; always in the same way.

    Over the whole corpus and not within dialogues or speakers, whose own shares of the classes would stay and are
    above chance. The protocol's folds, dev and test too, are then of these labels.
    """
    labelled = [i for i, u in enumerate(corpus.utterances) if u.label is not None or u.votes]
    dealt = np.random.default_rng(stable_seed("permuted labels", corpus.name)).permutation(labelled)
    utterances = list(corpus.utterances)
    for i, j in zip(labelled, dealt, strict=True):
        source = corpus.utterances[j]
        utterances[i] = replace(
            utterances[i], label=source.label, original_label=source.original_label, votes=source.votes
        )
    return replace(corpus, utterances=tuple(utterances))

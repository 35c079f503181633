"""The hidden layer by numpy is the network's."""

import numpy as np
import torch

from emofuse.models.text_cnn import TextCNN, TextCNNConfig
from emofuse.protocol.fitting import hidden_of

CONFIG = TextCNNConfig(word_dim=6, kernels=(1, 2, 4), filters=5, n_features=7)


def test_it_gives_what_the_network_gives_of_texts_of_any_length():
    torch.manual_seed(0)
    model = TextCNN(CONFIG).eval()
    hidden, rng = hidden_of(model), np.random.default_rng(0)
    assert hidden.dim == 7
    for n_words in (1, 2, 3, 4, 20):  # also fewer words than the widest kernel has
        words = rng.normal(size=(n_words, 6)).astype(np.float32)
        with torch.inference_mode():
            expected = model.features(torch.from_numpy(words)[None], torch.tensor([n_words]))[0]
        assert expected.max() > 0
        found = hidden(words)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_hidden_layer_by_hand():
    model = TextCNN(TextCNNConfig(word_dim=1, kernels=(2,), filters=1, n_features=1))
    state = {"convs.0.weight": [[[1.0, 10.0]]], "convs.0.bias": [0.5], "hidden.weight": [[2.0]], "hidden.bias": [-1.0]}
    model.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    # windows of 0 3 4 0: 0 + 30, 3 + 40, 4 + 0; of which the largest is 43.5 with the bias
    assert hidden_of(model)(np.array([[3.0], [4.0]])).tolist() == [86.0]

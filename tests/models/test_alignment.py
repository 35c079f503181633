import math

import torch

from emofuse.models import build, make_config
from emofuse.models.alignment import AlignmentAttention


def test_attention_by_hand():
    layer = AlignmentAttention(1)
    with torch.no_grad():
        layer.u.weight.fill_(1.0)
        layer.v.weight.fill_(2.0)
        layer.v.bias.fill_(0.5)
    h, s = torch.tensor([[[0.25], [-1.0]]]), torch.tensor([[[1.0], [-1.0]]])
    mask = torch.tensor([[[True, True], [True, False]]])
    a = [math.exp(math.tanh(1.0 + 2 * 0.25 + 0.5)), math.exp(math.tanh(-1.0 + 2 * 0.25 + 0.5))]
    weights = torch.tensor([[[a[0] / sum(a), a[1] / sum(a)], [1.0, 0.0]]])
    torch.testing.assert_close(layer.weights(h, s, mask), weights)
    torch.testing.assert_close(layer(h, s, mask), weights @ s)


def test_the_text_asks_or_else_the_last_modality():
    for dims, asking in (({"text": 2, "speech": 2, "visual": 2}, "text"), ({"speech": 2, "visual": 2}, "visual")):
        model = build("alignment", make_config("alignment", feature_dims=dims, n_hidden=3))
        assert model.asking == asking
        assert set(model.attention) == set(dims) - {asking}


def test_a_conversation_without_speech_aligns_to_nothing():
    torch.manual_seed(0)
    model = build("alignment", make_config("alignment", feature_dims={"speech": 2, "text": 3}, n_hidden=4)).eval()
    seen = []
    model.fusion.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    present = torch.tensor([[[False, True]] * 3])
    model(torch.tensor([3]), present, speech=torch.randn(1, 3, 2), text=torch.randn(1, 3, 3))
    assert seen[0][..., :8].abs().max() == 0
    assert (seen[0][..., 8:] != 0).all()

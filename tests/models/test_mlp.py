import torch

from emofuse.models.mlp import MLP, MLPConfig


def test_by_hand():
    model = MLP(MLPConfig(n_classes=2, n_features=2, n_hidden=2)).eval()
    first, second = model.layers[1], model.layers[4]
    with torch.no_grad():
        first.weight.copy_(torch.eye(2)), first.bias.zero_()
        second.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -2.0]])), second.bias.fill_(0.5)
        logits = model(torch.tensor([[1.0, 3.0], [-1.0, 9.0]]))
    # 9 is held at 5; -1 does not pass the ReLU
    assert logits.tolist() == [[1.5, -4.5], [0.5, -9.5]]


def test_every_weight_learns():
    model = MLP(MLPConfig(n_features=5, n_hidden=3))
    torch.manual_seed(0)
    model(torch.randn(64, 5), torch.full((64,), 5)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_what_is_learnt_beside_is_never_told():
    torch.manual_seed(0)
    model = MLP(MLPConfig(n_classes=2, n_features=5, n_hidden=3, dropout=0.0, n_auxiliary=3))
    vectors = torch.randn(4, 5)
    learnt = model.train()(vectors)
    assert learnt.shape == (4, 5)
    told = model.eval().without_auxiliary()
    assert not told.training
    assert told.config.n_auxiliary == 0
    assert sum(p.numel() for p in told.parameters()) == 5 * 3 + 3 + 3 * 2 + 2
    for logits in (model(vectors), told(vectors)):
        torch.testing.assert_close(logits, learnt[:, :2])

import torch

from emofuse.models import build, make_config, n_parameters
from emofuse.models.bclstm import BcLSTM

SIZES = {"feature_dims": {"speech": 3, "text": 4}, "n_classes": 3, "n_hidden": 5, "n_dense": 6}


def lstm(n_input: int, n_hidden: int) -> int:
    """Weights of one direction, both of torch's bias vectors counted."""
    return 4 * n_hidden * (n_input + n_hidden + 2)


def test_sizes():
    def network(n_input: int, directions: int) -> int:
        return directions * lstm(n_input, 300) + (300 * directions * 100 + 100) + (100 * 4 + 4)

    for name, directions in (("bc-lstm", 2), ("sc-lstm", 1)):
        parts = {m: network(n, directions) for m, n in (("speech", 100), ("visual", 512), ("text", 100))}
        for m, count in parts.items():
            assert n_parameters(build(f"{name}-{m}", make_config(f"{name}-{m}"))) == count
        whole = sum(parts.values()) + network(300, directions)
        assert n_parameters(build(name, make_config(name))) == whole


def test_level_1_is_trained_as_systems_of_their_own():
    for name in ("bc-lstm", "sc-lstm"):
        model = build(name, make_config(name, **SIZES))
        assert isinstance(model, BcLSTM)
        assert list(model.parts) == [f"{name}-speech", f"{name}-text"]
        for part_name, part in model.parts.items():
            part.load_state_dict(build(part_name, make_config(part_name, **SIZES)).state_dict())


def test_level_2_sees_the_dense_layers_of_level_1():
    torch.manual_seed(0)
    model = build("bc-lstm", make_config("bc-lstm", **SIZES)).eval()
    seen = []
    model.network.lstm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    lengths, batch = torch.tensor([4]), {"speech": torch.randn(1, 4, 3), "text": torch.randn(1, 4, 4)}
    model(lengths, **batch)
    for i, part in enumerate(model.parts.values()):
        z = seen[0][..., 6 * i : 6 * i + 6]
        assert (z >= 0).all()
        torch.testing.assert_close(part.network.output(z), part(lengths, **batch))


def test_frozen_parts_get_no_gradient():
    model = build("bc-lstm", make_config("bc-lstm", **SIZES)).train()
    model.freeze_parts()
    model(torch.tensor([2]), speech=torch.randn(1, 2, 3), text=torch.randn(1, 2, 4)).sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is None) == key.startswith("parts."), key

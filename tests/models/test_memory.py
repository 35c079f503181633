"""A conversation judged piece by piece: the LSTMs' memory is carried, and gives what the whole gives."""

import pytest
import torch

from emofuse.models import MODELS, build, goes_on, make_config

DIMS = {"speech": 3, "visual": 5, "text": 4}
GO_ON = [n for n, s in MODELS.items() if s.level == "conversation" and goes_on(n, make_config(n))]
SIZES = {"n_classes": 3, "n_hidden": 7, "n_dense": 5, "dropout": 0.0}


def small(name: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, make_config(name, feature_dims=DIMS, **SIZES, **settings)).eval()


def conversation(n: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    present = torch.rand(1, n, 3) < 0.7
    present[..., 0] |= ~present.any(-1)  # something is there of every utterance
    return {"present": present, **{m: torch.randn(1, n, dim) for m, dim in DIMS.items()}}


def part_of(inputs: dict[str, torch.Tensor], first: int, end: int) -> dict[str, torch.Tensor]:
    return {"lengths": torch.tensor([end - first]), **{k: x[:, first:end] for k, x in inputs.items()}}


def test_which_systems_go_on():
    mman = {"clstm-speech", "clstm-visual", "clstm-text", "clstm-ef", "clstm-lf", "clstm-mma", "mman"}
    assert set(GO_ON) == mman | {"sc-lstm", "sc-lstm-speech", "sc-lstm-visual", "sc-lstm-text"}
    assert not goes_on("mman", make_config("mman", context="both"))
    assert goes_on("mman", make_config("mman", context="none"))
    assert not goes_on("cma", make_config("cma"))


@pytest.mark.parametrize("name", GO_ON)
@pytest.mark.parametrize("size", [1, 3])
def test_piece_by_piece_is_the_whole(name, size):
    model, inputs, n = small(name), conversation(8), 8
    whole = model(**part_of(inputs, 0, n))
    memory = {}
    pieces = [model(**part_of(inputs, i, min(i + size, n)), memory=memory) for i in range(0, n, size)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    forgetful = torch.cat([model(**part_of(inputs, i, i + 1)) for i in range(n)], dim=1)
    assert not torch.allclose(forgetful, whole, atol=1e-4)  # the memory is what makes them equal


def test_without_context_there_is_nothing_to_carry():
    model, inputs = small("mman", context="none"), conversation(4)
    memory = {}
    pieces = [model(**part_of(inputs, i, i + 1), memory=memory) for i in range(4)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(**part_of(inputs, 0, 4)))
    assert memory == {}


@pytest.mark.parametrize("name", GO_ON)
def test_a_copied_memory_stays_as_it_was(name):
    model, inputs = small(name), conversation(4)
    memory = {}
    model(**part_of(inputs, 0, 2), memory=memory)
    kept = dict(memory)
    first = model(**part_of(inputs, 2, 3), memory=dict(kept))
    model(**part_of(inputs, 3, 4), memory=memory)
    torch.testing.assert_close(model(**part_of(inputs, 2, 3), memory=kept), first)


def test_both_directions_cannot_go_on():
    with pytest.raises(ValueError, match="both directions"):
        small("mman", context="both")(**part_of(conversation(2), 0, 2), memory={})

"""The plain CMA is the same architecture as ours: as many weights, and with ours the same logits."""

import pytest
import torch

from emofuse.bench.references import References, reference_folder
from emofuse.models import build, make_config, n_parameters

plain = References(reference_folder()).use("plain_cma", lambda module: module)


@pytest.mark.parametrize(("name", "modalities"), [("cma", ("speech", "text")), ("cma-speech", ("speech",))])
def test_it_has_as_many_weights(name: str, modalities: tuple[str, ...]) -> None:
    ours = build(name, make_config(name))
    assert n_parameters(plain.PlainCMA(modalities=modalities)) == n_parameters(ours)


@pytest.mark.parametrize(("name", "modalities"), [("cma", ("speech", "text")), ("cma-speech", ("speech",))])
def test_with_our_weights_a_full_clip_gets_our_logits(name: str, modalities: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    ours = build(name, make_config(name))
    for module in ours.modules():  # statistics as training leaves them: those of fresh weights change nothing
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    theirs = plain.PlainCMA(modalities=modalities)
    plain.copy_weights(ours.state_dict(), theirs)
    ours.eval()
    theirs.eval()
    speech, text = torch.randn(2, plain.CLIP_SAMPLES), torch.randn(2, 9, plain.WORD_DIM)
    given = {"speech": (speech, plain.CLIP_SAMPLES), "text": (text, 9)}
    inputs = {m: given[m][0] for m in modalities}
    lengths = {f"{m}_lengths": torch.full((2,), given[m][1]) for m in modalities}
    with torch.inference_mode():
        expected, found = ours(**inputs, **lengths), theirs(**inputs)
    assert expected.std() > 0.01  # not all alike
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_clips_are_padded_and_cut_to_ten_seconds() -> None:
    padded = plain.pad_clips([torch.ones(3), torch.ones(plain.CLIP_SAMPLES + 5)])
    assert padded.shape == (2, plain.CLIP_SAMPLES)
    assert padded.sum(dim=1).tolist() == [3, plain.CLIP_SAMPLES]


def test_its_training_step_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = plain.PlainCMA(n_classes=2)
    optimiser = plain.make_optimiser(model)
    speech, labels = 0.1 * torch.randn(4, 16_000), torch.tensor([0, 1, 0, 1])
    losses = [plain.train_step(model, optimiser, speech, labels) for _ in range(8)]
    assert losses[-1] < losses[0]

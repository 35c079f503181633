import pytest
import torch

from emofuse.models import build, make_config, n_parameters
from emofuse.models.face_cnn import FaceCNN


@pytest.fixture
def model() -> FaceCNN:
    torch.manual_seed(0)
    return build("face-cnn", make_config("face-cnn", n_classes=3, channels=[4, 6], dropout=0.0))


def faces(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random faces, zero behind their lengths."""
    torch.manual_seed(1)
    x = torch.randint(0, 256, (len(lengths), max(lengths), 48, 48), dtype=torch.uint8)
    for row, n in zip(x, lengths, strict=True):
        row[n:] = 0
    return x, torch.tensor(lengths)


def test_number_of_parameters():
    # 3 x 3 kernels without bias, two numbers a normalised channel, the output layer
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    norms = 2 * (16 + 2 * 32 + 2 * 64 + 2 * 128)
    assert n_parameters(build("face-cnn", make_config("face-cnn"))) == convolutions + norms + 128 * 4 + 4 == 291_892


@pytest.mark.parametrize("training", [True, False])
def test_padding_and_longer_neighbours_never_change_the_logits(model, training):
    model.train(training)
    x, lengths = faces(2, 3, 1)
    logits = model(x, lengths)
    garbage = torch.cat([x, torch.full((3, 2, 48, 48), 99, dtype=torch.uint8)], dim=1)
    torch.testing.assert_close(model(garbage, lengths), logits)
    if not training:
        torch.testing.assert_close(model(x[2:, :1], lengths[2:]), logits[2:])


def test_an_utterance_is_the_mean_of_its_frames_logits(model):
    model.eval()
    x, lengths = faces(3)
    alone = torch.cat([model(x[:, i : i + 1], torch.tensor([1])) for i in range(3)])
    torch.testing.assert_close(model(x, lengths)[0], alone.mean(0))


def test_light_and_contrast_do_not_matter(model):
    model.eval()
    x, lengths = faces(1)
    torch.testing.assert_close(model(0.5 * x.float() + 40, lengths), model(x, lengths), rtol=1e-3, atol=1e-4)


def test_a_face_of_one_grey_gives_finite_logits(model):
    x = torch.full((1, 1, 48, 48), 128, dtype=torch.uint8)
    assert model.eval()(x, torch.tensor([1])).isfinite().all()


def test_every_parameter_gets_a_gradient(model):
    x, lengths = faces(2, 1)
    model(x, lengths).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_two_faces_can_be_told_apart(model):
    x, lengths = faces(1, 1)
    labels = torch.tensor([0, 2])
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(x, lengths), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05

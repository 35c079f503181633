import io
import pickle
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.image import imread
from safetensors.torch import save_file

from emofuse.errors import ConfigError, DataError
from emofuse.features.body import N_FEATURES
from emofuse.features.extractor import Extractor
from emofuse.media.video import Frame
from emofuse.models.r3d import R3D18, BasicBlock, load_r3d
from emofuse.motion import body_motion

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def torchvision_keys() -> set[str]:
    """Names of the tensors of torchvision's ``r3d_18``, written down from its documentation, not from our code."""
    keys = {"stem.0.weight", "fc.weight", "fc.bias"} | {f"stem.1.{name}" for name in BATCH_NORM}
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            for conv in ("conv1", "conv2"):
                prefix = f"layer{layer}.{block}.{conv}"
                keys |= {f"{prefix}.0.weight"} | {f"{prefix}.1.{name}" for name in BATCH_NORM}
        if layer > 1:
            prefix = f"layer{layer}.0.downsample"
            keys |= {f"{prefix}.0.weight"} | {f"{prefix}.1.{name}" for name in BATCH_NORM}
    return keys


@pytest.fixture(scope="module")
def model() -> R3D18:
    torch.manual_seed(0)
    return R3D18(n_classes=5).eval()


def hollow(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A state dict of the right shapes in a few bytes: each tensor repeats one number. None drops a key."""
    state = {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in R3D18(n_classes=5).state_dict().items()}
    state |= {key.replace("__", "."): value for key, value in changes.items() if value is not None}
    return {key: value for key, value in state.items() if changes.get(key.replace(".", "__"), value) is not None}


def test_names_and_number_of_parameters_are_torchvisions() -> None:
    full = R3D18()
    assert set(full.state_dict()) == torchvision_keys()
    # Hand count: convolutions 3·64·3·7·7 + 4·64²·27, then (c/2·c + 3·c²)·27 + c/2·c for c in 128, 256, 512.
    convolutions = 3 * 64 * 147 + 4 * 64**2 * 27
    convolutions += sum((c * c // 2 + 3 * c * c) * 27 + c * c // 2 for c in (128, 256, 512))
    norms = 2 * (64 * 5 + sum(5 * c for c in (128, 256, 512)))
    assert convolutions + norms + 512 * 400 + 400 == 33_371_472
    assert sum(p.numel() for p in full.parameters()) == 33_371_472


def test_shapes_of_the_stages(model: R3D18) -> None:
    with torch.inference_mode():
        x = model.stem(torch.zeros(1, 3, 8, 32, 32))
        assert x.shape == (1, 64, 8, 16, 16)
        for layer, shape in (
            (model.layer1, (64, 8, 16, 16)),
            (model.layer2, (128, 4, 8, 8)),
            (model.layer3, (256, 2, 4, 4)),
            (model.layer4, (512, 1, 2, 2)),
        ):
            x = layer(x)
            assert x.shape[1:] == shape


def test_features_and_logits(model: R3D18) -> None:
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.inference_mode():
        features = model.features(clips)
        assert features.shape == (2, 512)
        assert (features >= 0).all()
        torch.testing.assert_close(model(clips), features @ model.fc.weight.T + model.fc.bias)


def test_clips_of_a_batch_do_not_change_each_other(model: R3D18) -> None:
    clips = torch.randn(3, 3, 4, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=1e-4, atol=1e-5)


def test_a_block_is_two_convolutions_and_a_shortcut() -> None:
    torch.manual_seed(0)
    block = BasicBlock(4, 6, stride=2)
    for norm in (m for m in block.modules() if isinstance(m, torch.nn.BatchNorm3d)):
        torch.nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    state = block.eval().state_dict()
    x = torch.randn(2, 4, 6, 6, 6)

    def norm(x: torch.Tensor, prefix: str) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{prefix}.{n}"].view(1, -1, 1, 1, 1) for n in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    h = norm(F.conv3d(x, state["conv1.0.weight"], stride=2, padding=1), "conv1.1").clamp(min=0)
    h = norm(F.conv3d(h, state["conv2.0.weight"], padding=1), "conv2.1")
    shortcut = norm(F.conv3d(x, state["downsample.0.weight"], stride=2), "downsample.1")
    torch.testing.assert_close(block(x), (h + shortcut).clamp(min=0))


def test_every_parameter_gets_a_gradient() -> None:
    model = R3D18(n_classes=3)
    F.cross_entropy(model(torch.randn(2, 3, 4, 16, 16)), torch.tensor([0, 2])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, model: R3D18) -> Path:
    file = tmp_path_factory.mktemp("r3d") / "r3d.safetensors"
    save_file(model.state_dict(), file)
    return file


def test_safetensors_are_loaded(weights: Path, model: R3D18) -> None:
    loaded = load_r3d(weights)
    assert not loaded.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save_old_and_new_are_loaded(tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "r3d_18.pth"
    torch.save(hollow(fc__bias=torch.arange(5.0)), file, _use_new_zipfile_serialization=zipped)
    assert load_r3d(file).fc.bias.tolist() == [0, 1, 2, 3, 4]


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "r3d_18.pth"
    torch.save({key: value for key, value in hollow().items() if "num_batches" not in key}, file)
    load_r3d(file)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            saved(hollow(layer2__0__downsample__0__weight=None)),
            r"1 tensors missing, first 'layer2.0.downsample.0.weight'",
        ),
        (saved({}), r"tensors missing, first 'stem.0.weight'"),
        (
            saved(hollow(layer1__0__conv1__0__weight=torch.zeros(64, 64, 1, 3, 3))),
            r"'layer1.0.conv1.0.weight' is \(64, 64, 1, 3, 3\), R3D-18 needs \(64, 64, 3, 3, 3\)",
        ),
        (saved(hollow(fc__weight=torch.zeros(5, 7))), r"'fc.weight' is \(5, 7\), R3D-18 needs \(5, 512\)"),
        (saved(hollow(layer5=torch.zeros(1))), "1 tensors that R3D-18 has not, first 'layer5'"),
        (saved([1, 2]), "no state dict"),
        (saved({"state_dict": {}}), "no state dict"),
        (saved(hollow())[:5000], "cannot be read"),
        (b"", "cannot be read"),
        (b"some text", "cannot be read"),
        (pickle.dumps(Harmful()), "cannot be read"),
        (saved(Harmful()), "cannot be read"),
    ],
)
def test_other_content_is_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load_r3d(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    assert "run" not in capsys.readouterr().out


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        load_r3d(file)


@pytest.mark.parametrize(("name", "message"), [("none.pth", "no such file"), ("weights.onnx", "need to be in a")])
def test_files_of_other_kinds_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"x")
    with pytest.raises(ConfigError, match=message):
        load_r3d(tmp_path / name)


def test_without_weights_the_feature_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="no weights; give a file of torchvision's r3d_18"):
        body_motion()


@pytest.fixture
def small_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time; clips of full size are tested in test_body.py."""
    monkeypatch.setattr("emofuse.features.body.CLIP_SIZE", 32)


@pytest.fixture(scope="module")
def extractor(weights: Path) -> Extractor:
    return body_motion(weights)


@pytest.fixture(scope="module")
def hopper() -> list[Frame]:
    """26 frames of a photograph of a person that moves to the right."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = np.asarray(imread(file, format="jpg"))[::2, ::2]
    return [Frame(i / 15, np.roll(picture, i, axis=1)) for i in range(26)]


@pytest.mark.usefixtures("small_clips")
def test_the_feature_has_a_row_a_clip(extractor: Extractor, hopper: list[Frame]) -> None:
    rows = extractor(iter(hopper))
    assert rows.shape == (2, N_FEATURES)
    assert rows.dtype == np.float32
    assert (rows >= 0).all()
    assert not np.allclose(rows[0], rows[1])
    assert extractor.rate_hz == 15 / 16
    assert extractor.frame_rate == 15
    # The same in another process, to which the extractor is sent as its paths.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor))(hopper), rows)


def test_the_key_of_the_store_names_the_weights_by_content(extractor: Extractor, weights: Path) -> None:
    assert len(extractor.settings["weights"]) == 64
    assert str(weights) not in str(extractor.settings)


@pytest.mark.usefixtures("small_clips")
def test_frames_without_a_face_are_refused_unless_the_middle_will_do(extractor: Extractor, weights: Path) -> None:
    empty = [Frame(i / 15, np.full((60, 80, 3), 90, np.uint8)) for i in range(4)]
    with pytest.raises(DataError, match="no face found in 4 frames"):
        extractor(empty)
    assert body_motion(weights, centre_without_face=True)(empty).shape == (1, N_FEATURES)
    with pytest.raises(DataError, match="no frames"):
        extractor([])

"""Two processes train what one trains, and go on after one of them was killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emofuse.batching import IGNORE, Example
from emofuse.errors import ConfigError, DataError
from emofuse.interfaces import cli
from emofuse.interfaces import train as train_command
from emofuse.models import MODELS, build, make_config
from emofuse.protocol.distributed import World, first_alone, joined, parallel, refuse_different, world
from emofuse.protocol.scoring import score
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.stages import train_system
from emofuse.protocol.train import class_weights, train_epoch

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
DIMS = {"speech": 3, "visual": 2, "text": 4}
CMA = {"n_classes": 3, "word_dim": 4, "d_model": 8, "n_heads": 2, "dropout": 0.0, "filters": (4, 5, 6)}
MMAN = {"n_classes": 3, "feature_dims": DIMS, "d_model": 4, "n_hidden": 8, "n_dense": 6, "dropout": 0.0}
CASES = {  # system, sizes, settings; 9 examples in batches of 4: of the last one both processes take all
    "batch norm": ("cma-speech", CMA, {"class_weights": True, "label_smoothing": 0.1}),
    "modalities dropped": ("cma", CMA, {"modality_dropout": 0.4, "clip_norm": 0.5}),
    "votes": ("face-cnn", {"n_classes": 3, "channels": (4, 4), "dropout": 0.0}, {"soft_votes": True}),
    "conversations": ("clstm-mma", MMAN, {"class_weights": True}),
}


def make_examples(name: str, n: int, seed: int) -> list[Example]:
    """Examples of different lengths, some without a label; the label shows in the first channel."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(n):
        n_rows = 2 + i % 3 if MODELS[name].level == "conversation" else 1
        labels = rng.integers(0, 3, n_rows)
        if n_rows > 1:
            inputs = {m: rng.normal(size=(n_rows, dim)) for m, dim in DIMS.items()}
        else:
            inputs = {"text": rng.normal(size=(1 + i % 4, 4)), "speech": rng.normal(size=1500 + 150 * (i % 5))}
            inputs["visual"] = rng.normal(size=(1 + i % 2, 8, 8))
        inputs = {m: (x + labels[0]).astype(np.float32) for m, x in inputs.items() if m in MODELS[name].modalities}
        labels[n_rows - 1] = IGNORE if i % 3 == 2 and n_rows > 1 else labels[n_rows - 1]
        votes = rng.dirichlet(np.ones(3), n_rows) if name == "face-cnn" else None
        examples.append(Example(tuple(f"{i}-{k}" for k in range(n_rows)), labels, inputs, votes))
    return examples


def two_epochs(case: str) -> tuple[dict[str, Tensor], list[float]]:
    """Weights and losses of plain gradient descent: Adam would make steps of what is rounding alone."""
    name, sizes, settings = CASES[case]
    torch.manual_seed(0)
    model = build(name, make_config(name, **sizes))
    config = TrainingConfig(batch_size=4, **settings)
    examples, level = make_examples(name, 9, 0), MODELS[name].level
    weight = class_weights(examples, 3) if config.class_weights else None
    training = parallel(model, config.batch_size, config.modality_dropout > 0)
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    losses = [train_epoch(training, optimiser, examples, level, config, weight, epoch, 16_000) for epoch in (1, 2)]
    return dict(model.state_dict()), [*losses, score(model, examples, level, torch.device("cpu"))["ece"]]


def staged() -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """A system in stages with Adam and selection on dev."""
    config = TrainingConfig(max_epochs=3, batch_size=4, class_weights=True)
    parts = (make_examples("mman", 9, 0), make_examples("mman", 5, 1))
    keywords = {"metric": "ua", "seed": 7, "device": torch.device("cpu")}
    done = train_system("mman", make_config("mman", **MMAN), lambda _: config, *parts, **keywords)
    return dict(done.model.state_dict()), done.result.history


def train_all(folder: Path, arguments: list[str]) -> None:
    """What each of the processes does, joined once: both leave their weights, then they do a command."""
    torch.set_num_threads(1)
    with joined("cpu"):
        for case in (*CASES, "staged"):
            weights, numbers = staged() if case == "staged" else two_epochs(case)
            name = f"{case}-{world().rank}"
            save_file(weights, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(numbers))
        train_command.joined = nullcontext  # type: ignore[assignment]
        sys.argv = ["emofuse", *arguments]
        cli.main()


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes under torchrun; none of them outlives the block."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*TORCHRUN, *arguments], start_new_session=True, **pipes)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # what torchrun has started is in sessions of their own
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    """Processes that a process has started; Linux."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    script = folder / "run.py"
    arguments = [*write_command(folder), str(folder / "straight")]
    call = f"pathlib.Path({str(folder)!r}), {arguments}"
    script.write_text(f"import pathlib, runpy\nrunpy.run_path({__file__!r})['train_all']({call})\n")
    with started(str(script)) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    (folder / "stdout").write_text(output)
    (folder / "stderr").write_text(errors)
    return folder


@pytest.mark.parametrize("case", [*CASES, "staged"])
def test_two_processes_train_what_one_trains(trained: Path, case: str) -> None:
    expected, numbers = staged() if case == "staged" else two_epochs(case)
    for rank in (0, 1):
        found = load_file(trained / f"{case}-{rank}.safetensors")
        assert set(found) == set(expected)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5, msg=lambda m, key=key: f"{key}: {m}")
        for one, other in zip(json.loads((trained / f"{case}-{rank}.json").read_text()), numbers, strict=True):
            assert one == pytest.approx(other, rel=1e-4)
    # and training has moved them
    name, sizes, _ = CASES.get(case, ("mman", MMAN, {}))
    torch.manual_seed(0)
    fresh = build(name, make_config(name, **sizes)).state_dict()
    assert any((expected[key].float() - fresh[key].float()).abs().max() > 1e-3 for key in fresh)


RECIPE = """
name = "small"
paper = "none"
command = "none"
expected = "nothing"
corpus = "manifest"
protocol = "split"
labels = "emotions4"
systems = ["clstm-ef"]
[features]
speech = { kind = "stored" }
text = { kind = "stored" }
[model]
d_model = 4
n_hidden = 8
n_dense = 6
[training]
max_epochs = 20
patience = 0
batch_size = 4
"""


# One of the two processes kills itself in the tenth epoch; the state is written after every epoch.
DIES = """
import itertools, os, signal
from emofuse.interfaces.cli import main
from emofuse.protocol import train

epochs, real = itertools.count(1), train.train_epoch

def train_epoch(*arguments):
    if next(epochs) == 10 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

train.SAVE_EVERY_S, train.train_epoch = 0, train_epoch
main()
"""


def write_command(folder: Path) -> list[str]:
    """The arguments of a training of many short epochs, but for where to."""
    rng = np.random.default_rng(0)
    rows = ["id,label,dialogue,split,speech_features,text_features"]
    for i in range(36):
        y = int(rng.integers(4))
        for modality in ("speech", "text"):
            np.save(folder / f"{modality}{i}.npy", (rng.normal(size=4) + np.eye(4)[y]).astype(np.float32))
        label = ("angry", "happy", "neutral", "sad")[y]
        rows.append(f"{i},{label},d{i // 4},{('train', 'train', 'test')[i // 4 % 3]},speech{i}.npy,text{i}.npy")
    (folder / "corpus.csv").write_text("\n".join(rows))
    (folder / "recipe.toml").write_text(RECIPE)
    return ["train", str(folder / "recipe.toml"), "--data", str(folder / "corpus.csv"), "--device", "cpu", "--out"]


def test_one_of_the_processes_tells_how_it_goes(trained: Path) -> None:
    output, errors = ((trained / name).read_text() for name in ("stdout", "stderr"))
    assert output.count("wrote ") == output.count("in 2 processes, on cpu") == 1
    assert errors.count("clstm-ef epoch 15,") == 1
    assert "FutureWarning" not in errors


def test_a_killed_rank_ends_the_run_and_the_same_command_goes_on(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "dies.py").write_text(DIES)
    again = [*write_command(tmp_path), str(tmp_path / "model")]
    with started(str(tmp_path / "dies.py"), *again) as killed:
        killed.communicate(timeout=200)
    assert killed.returncode != 0
    assert not (tmp_path / "model").exists()
    (state,) = tmp_path.glob("model.state.partial/*/clstm-ef.json")
    assert len(json.loads(state.read_text())["history"]) in (8, 9)  # the other one may have begun to write

    with started("-m", "emofuse", *again) as resumed:
        errors = resumed.communicate(timeout=200)[1]
    assert resumed.returncode == 0, errors
    found, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", trained / "straight"))
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    assert not list(tmp_path.glob("model.*"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_what_one_processor_trains(tmp_path: Path) -> None:
    few = [
        *write_command(tmp_path)[:-3],
        "--device",
        "cuda",
        "--set",
        "training.max_epochs=3",
        "--set",
        "model.dropout=0.0",
        "--out",
    ]
    with started("-m", "emofuse", *few, str(tmp_path / "gpus")) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "in 2 processes, on cuda" in output
    alone = [sys.executable, "-m", "emofuse", *few[: few.index("--device") + 1], "cpu", *few[few.index("--set") :]]
    subprocess.run([*alone, str(tmp_path / "alone")], check=True, capture_output=True)
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("gpus", "alone"))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-2, atol=1e-3)


def test_one_process_alone_needs_no_others() -> None:
    with joined("auto") as device, first_alone():
        assert device == "auto"
        assert world() == World(0, 1)
        refuse_different([1], "never")


def test_every_item_is_one_process_own() -> None:
    items = list(range(7))
    assert [list(World(rank, 3).mine(items)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("device", "message"), [("cuda", "2 processes, 0 GPUs"), ("cuda:0", "--device cuda:0 is one for 2 processes")]
)
def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match=message), joined(device):
        pass


def test_processes_that_cannot_have_an_example_each_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.protocol.distributed.world", lambda: World(0, 8))
    with pytest.raises(ConfigError, match=r"batch_size is 4 for 8 processes"):
        parallel(torch.nn.Linear(1, 1), 4, False)


def test_processes_that_start_from_different_epochs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(values: list[int], mine: int) -> None:
        values[:] = [mine, mine + 1]

    monkeypatch.setattr("emofuse.protocol.distributed.world", lambda: World(0, 2))
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(DataError, match="all must see"):
        refuse_different(3, "all must see it")

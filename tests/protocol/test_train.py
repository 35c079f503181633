import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emofuse.batching import IGNORE, Example, collate
from emofuse.errors import ConfigError, DataError
from emofuse.models import MODELS, build, make_config
from emofuse.protocol import train as train_module
from emofuse.protocol.scoring import predict_probabilities, score
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.stages import TrainedSystem, train_system
from emofuse.protocol.state import FitResult
from emofuse.protocol.train import class_weights, fit, train_epoch

CPU = torch.device("cpu")
DIMS = {"speech": 3, "visual": 2, "text": 4}
SIZES = {
    "cma-text": {"n_classes": 3, "word_dim": 4, "d_model": 8, "n_heads": 2},
    "mman": {"n_classes": 3, "feature_dims": DIMS, "d_model": 4, "n_hidden": 8, "n_dense": 6},
}
N_EPOCHS = 5


def words(n: int, seed: int) -> list[Example]:
    """Utterances of 1 to 5 random words; the label shows in the first channel."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(n):
        text = rng.normal(size=(1 + i % 5, 4)).astype(np.float32)
        text[:, 0] += 2 * (i % 3 - 1)
        examples.append(Example((f"u{seed}-{i}",), np.array([i % 3]), {"text": text}))
    return examples


def dialogues(n: int, seed: int) -> list[Example]:
    """Conversations of 2 to 5 utterances; the label shows in the first channel of every modality."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(n):
        labels = rng.integers(0, 3, 2 + i % 4)
        inputs = {m: rng.normal(size=(len(labels), dim)).astype(np.float32) for m, dim in DIMS.items()}
        for x in inputs.values():
            x[:, 0] += 2 * (labels - 1)
        examples.append(Example(tuple(f"d{seed}-{i}-{k}" for k in range(len(labels))), labels, inputs))
    return examples


def run(name: str, state_dir: Path | None = None, on_epoch=None, trained=None, **settings) -> TrainedSystem:
    """The run that is killed, resumed and compared."""
    make = dialogues if MODELS[name].level == "conversation" else words
    sizes = SIZES.get(name, SIZES["mman"])
    config = TrainingConfig(
        **{"max_epochs": N_EPOCHS, "patience": 0, "batch_size": 4, "class_weights": True, **settings}
    )
    return train_system(
        name,
        make_config(name, **sizes),
        lambda _: config,
        make(10, 0),
        make(6, 1),
        metric="ua",
        seed=7,
        device=CPU,
        state_dir=state_dir,
        on_epoch=on_epoch,
        trained=trained,
    )


KILLS = {  # system, part in training, epoch whose end it does not see
    "utterances": ("cma-text", "cma-text", 3),
    "first stage": ("mman", "clstm-visual", 2),
    "fusion": ("mman", "mman", 4),
}


SETTINGS = {"fusion": {"modality_dropout": 0.4}}


def run_and_die(case: str, state_dir: Path) -> None:
    """Kill this process in the midst of an epoch."""
    name, part, epoch = KILLS[case]

    def on_epoch(now: str, entry: dict[str, float]) -> None:
        if (now, entry["epoch"]) == (part, epoch):
            os.kill(os.getpid(), signal.SIGKILL)

    run(name, state_dir, on_epoch, **SETTINGS.get(case, {}))


def kill_all(folder: Path) -> None:
    """Called in a process of its own, which imports once and forks a process a case; prints how each ended."""
    torch.set_num_threads(1)
    train_module.SAVE_EVERY_S = 0
    run("cma-text", max_epochs=1)  # the first step of an optimiser imports for seconds: once, not in every child
    for case in KILLS:
        child = os.fork()
        if child == 0:
            run_and_die(case, folder / case)
            os._exit(0)
        print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder with the state that each killed run left behind."""
    folder = tmp_path_factory.mktemp("killed")
    script = f"import pathlib, runpy; runpy.run_path({__file__!r})['kill_all'](pathlib.Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(KILLS), done.stderr
    return folder


@pytest.mark.parametrize("case", KILLS)
def test_a_killed_run_resumes_and_ends_with_the_same_weights(killed, case):
    name, part, epoch = KILLS[case]
    state_dir = killed / case
    stored = json.loads((state_dir / f"{part}.json").read_text())
    assert [entry["epoch"] for entry in stored["history"]] == list(range(1, epoch))
    assert not list(state_dir.glob("*.partial"))

    epochs: list[tuple[str, float]] = []
    settings = SETTINGS.get(case, {})
    resumed = run(name, state_dir, lambda now, entry: epochs.append((now, entry["epoch"])), **settings)
    straight_trained: dict[str, TrainedSystem] = {}
    straight = run(name, trained=straight_trained, **settings)
    assert resumed.result == straight.result
    weights, expected = resumed.model.state_dict(), straight.model.state_dict()
    assert list(weights) == list(expected)
    for key in weights:
        assert torch.equal(weights[key], expected[key]), key
    # every epoch of every part is reported once, those from before the kill too
    assert epochs == [(now, e) for now in straight_trained for e in range(1, N_EPOCHS + 1)]


def test_states_of_other_systems_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "SAVE_EVERY_S", 0)
    config = TrainingConfig(max_epochs=2)
    for name in ("cma-text", "cma"):  # one name begins with the other
        torch.manual_seed(0)
        model = build("cma-text", make_config("cma-text", **SIZES["cma-text"]))
        keywords = {"level": "utterance", "n_classes": 3, "config": config, "metric": "ua", "seed": 0}
        fit(model, words(4, 0), words(4, 1), state=tmp_path / name, **keywords)
    names = ["cma-2.safetensors", "cma-text-2.safetensors", "cma-text.json", "cma.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize("name", ["cma-text", "clstm-mma"])
def test_two_examples_can_be_over_fitted(name):
    make = words if name == "cma-text" else dialogues
    examples = make(2, 0)
    torch.manual_seed(0)
    model = build(name, make_config(name, **SIZES.get(name, SIZES["mman"]), dropout=0.0))
    level = MODELS[name].level
    config = TrainingConfig(max_epochs=40, learning_rate=0.02, patience=0)
    result = fit(model, examples, examples, level=level, n_classes=3, config=config, metric="wa", seed=0)
    assert min(entry["loss"] for entry in result.history) < 0.1
    assert score(model, examples, level, CPU)["wa"] == 1


def test_class_weights_by_hand():
    # counts 3, 1, 0 of 3 classes: 4 / (3 * count), nothing for a class that never comes
    examples = [
        Example(("a", "b", "c"), np.array([0, 0, IGNORE]), {}),
        Example(("d", "e"), np.array([1, 0]), {}),
    ]
    torch.testing.assert_close(class_weights(examples, 3), torch.tensor([4 / 9, 4 / 3, 0]))
    balanced = [Example((str(i),), np.array([i % 2]), {}) for i in range(6)]
    torch.testing.assert_close(class_weights(balanced, 2), torch.ones(2))
    # Half of the way between none and all, on a scale of factors.
    torch.testing.assert_close(class_weights(examples, 3, 0.5), torch.tensor([2 / 3, 2 / 3**0.5, 0]))
    torch.testing.assert_close(class_weights(examples, 3, 0.0), torch.tensor([1.0, 1.0, 0.0]))


def small_mma(name: str = "clstm-mma") -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, make_config(name, **SIZES["mman"], dropout=0.0))


def one_epoch(model: torch.nn.Module, examples: list[Example], **settings) -> float:
    """One step on one batch; returns the loss before it."""
    config = TrainingConfig(batch_size=len(examples), **settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return train_epoch(model, optimiser, examples, "conversation", config, None, 0, 0)


def test_the_loss_is_the_mean_over_labelled_utterances():
    long, short = dialogues(4, 0)[3], dialogues(1, 1)[0]
    labels = long.labels.copy()
    labels[1] = IGNORE
    long = Example(long.ids, labels, long.inputs)
    model = small_mma()
    losses = []
    for example in (long, short):
        logits = model(**collate([example], "conversation").inputs)[0].detach()
        losses += [-float(row.log_softmax(0)[y]) for row, y in zip(logits, example.labels, strict=True) if y != IGNORE]
    assert len(losses) == 4 + 2
    assert one_epoch(model, [long, short]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_padded_and_unlabelled_utterances_do_not_train():
    # the last utterance is unlabelled: without it (a causal model) the step is the same
    examples = dialogues(3, 0)
    last = examples[2]
    labels = last.labels.copy()
    labels[-1] = IGNORE
    unlabelled = Example(last.ids, labels, last.inputs)
    shorter = Example(last.ids[:-1], last.labels[:-1], {m: x[:-1] for m, x in last.inputs.items()})
    models = [small_mma(), small_mma()]
    losses = [one_epoch(model, [*examples[:2], e]) for model, e in zip(models, (unlabelled, shorter), strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_batch_without_labels_is_skipped():
    example = dialogues(1, 0)[0]
    model = small_mma()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert one_epoch(model, [Example(example.ids, np.full_like(example.labels, IGNORE), example.inputs)]) == 0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unlabelled_utterances_do_not_count_in_the_score():
    examples = dialogues(4, 0)
    model = small_mma()
    probabilities = predict_probabilities(model, examples, "conversation", CPU)
    assert set(probabilities) == {i for e in examples for i in e.ids}
    assert all(p.shape == (3,) and p.sum() == pytest.approx(1) for p in probabilities.values())
    # label each utterance as the model says, but leave those of the first dialogue out
    agreed = [Example(e.ids, np.array([probabilities[i].argmax() for i in e.ids]), e.inputs) for e in examples]
    agreed[0] = Example(agreed[0].ids, np.full(len(agreed[0].ids), IGNORE), agreed[0].inputs)
    assert score(model, agreed, "conversation", CPU)["wa"] == 1


def test_predictions_do_not_depend_on_the_batch_size():
    examples, model = dialogues(5, 0), small_mma("mman")
    one, many = (predict_probabilities(model, examples, "conversation", CPU, size) for size in (1, 5))
    assert set(one) == set(many)
    for i in one:
        np.testing.assert_allclose(one[i], many[i], rtol=1e-5, atol=1e-6)


def scripted_fit(monkeypatch, scores: list[float], **settings) -> tuple[FitResult, torch.nn.Module, list[dict]]:
    """`fit` whose selection scores are given; also the weights after every epoch."""
    given = iter(scores)
    weights: list[dict] = []

    def scripted(model, *_):
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"ua": next(given)}

    monkeypatch.setattr(train_module, "score", scripted)
    torch.manual_seed(0)
    model = build("cma-text", make_config("cma-text", **SIZES["cma-text"]))
    config = TrainingConfig(**{"max_epochs": len(scores), **settings})
    keywords = {"level": "utterance", "n_classes": 3, "config": config, "metric": "ua", "seed": 0}
    return fit(model, words(4, 0), words(2, 1), **keywords), model, weights


def test_early_stopping_keeps_the_best_epoch(monkeypatch):
    result, model, weights = scripted_fit(monkeypatch, [0.3, 0.5, 0.4, 0.5, 0.1, 0.9], patience=2)
    assert result.best_epoch == 2  # a tie goes to the earlier one
    assert [entry["ua"] for entry in result.history] == [0.3, 0.5, 0.4, 0.5]
    assert all(torch.equal(v, weights[1][k]) for k, v in model.state_dict().items())
    assert any(not torch.equal(v, weights[3][k]) for k, v in model.state_dict().items())


def test_patience_0_never_stops_early(monkeypatch):
    result, _, weights = scripted_fit(monkeypatch, [0.3, 0.2, 0.1, 0.1, 0.0], patience=0)
    assert (result.best_epoch, len(weights)) == (1, 5)


def test_a_score_of_zero_still_leaves_weights(monkeypatch):
    result, _, _ = scripted_fit(monkeypatch, [0.0, 0.0])
    assert result.best_epoch == 1


def test_scores_are_averaged_over_the_last_epochs(monkeypatch):
    # means over two: none of the first epoch, which a mean of itself alone would let win by luck; 0.5, 0.4, 0.65, 0.55
    result, _, _ = scripted_fit(monkeypatch, [0.9, 0.1, 0.7, 0.6, 0.5], average_epochs=2, patience=0)
    assert result.best_epoch == 4


def test_of_fewer_epochs_than_are_averaged_the_last_is_kept(monkeypatch):
    result, _, _ = scripted_fit(monkeypatch, [0.9, 0.1], average_epochs=3)
    assert result.best_epoch == 2


def test_the_same_seed_gives_the_same_weights():
    a, b = run("cma-text"), run("cma-text")
    assert a.result == b.result
    assert all(torch.equal(v, b.model.state_dict()[k]) for k, v in a.model.state_dict().items())


def test_staged_training_leaves_the_frozen_parts_alone():
    trained: dict[str, TrainedSystem] = {}
    mman = run("mman", trained=trained, max_epochs=3)
    late = run("clstm-lf", trained=trained, max_epochs=3)
    parts = ["clstm-mma", "clstm-speech", "clstm-visual", "clstm-text"]
    assert list(trained) == [*parts, "mman", "clstm-lf"]
    for model in (mman.model, late.model):
        for name, part in model.parts.items():
            expected = trained[name].model.state_dict()
            assert all(torch.equal(v, expected[k]) for k, v in part.state_dict().items()), name
            assert not any(p.requires_grad for p in part.parameters())
    fresh = build("mman", make_config("mman", **SIZES["mman"]))
    assert not torch.equal(mman.model.output.weight, fresh.output.weight)  # the fusion did learn
    assert mman.seconds >= sum(trained[name].seconds for name in parts)
    assert trained["clstm-speech"].model is not mman.model.parts["clstm-speech"]


def test_a_part_trained_alone_is_the_part_within_mman():
    mman = run("mman", max_epochs=2)
    for name in ("clstm-speech", "clstm-mma"):
        alone = run(name, max_epochs=2).model.state_dict()
        within = mman.model.parts[name].state_dict()
        assert all(torch.equal(v, alone[k]) for k, v in within.items())


def test_modality_dropout_reaches_what_fuses_and_nothing_else():
    without, with_it = {}, {}
    run("mman", trained=without, max_epochs=2)
    run("mman", trained=with_it, max_epochs=2, modality_dropout=0.5)
    for name, done in without.items():
        other = with_it[name].model.state_dict()
        own = {k: v for k, v in done.model.state_dict().items() if not k.startswith("parts.")}
        same = all(torch.equal(v, other[k]) for k, v in own.items())
        assert same == (len(MODELS[name].modalities) == 1), name


def test_a_modality_that_no_batch_of_an_epoch_had_does_not_stop_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "SAVE_EVERY_S", 0)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sizes = {"n_classes": 3, "filters": (2, 2, 2), "word_dim": 4, "d_model": 4, "n_heads": 2}
    lone = [
        Example(
            e.ids,
            e.labels,
            {"speech": np.zeros(0, np.float32), **e.inputs},
            present={"speech": np.array([False]), "text": np.array([True])},
        )
        for e in words(4, 0)
    ]
    both = [
        replace(e, inputs={**e.inputs, "speech": rng.normal(size=1500).astype(np.float32)}, present=None) for e in lone
    ]
    keywords = {"level": "utterance", "n_classes": 3, "metric": "ua", "seed": 0, "state": tmp_path / "cma"}
    first = build("cma", make_config("cma", **sizes))
    fit(first, lone, both, config=TrainingConfig(max_epochs=1), **keywords)
    again = build("cma", make_config("cma", **sizes))
    assert len(fit(again, both, both, config=TrainingConfig(max_epochs=2), **keywords).history) == 2


def test_a_trained_system_is_not_trained_again():
    trained: dict[str, TrainedSystem] = {}
    first = run("cma-text", trained=trained, max_epochs=1)
    assert run("cma-text", trained=trained, max_epochs=1) is first


def test_the_gradient_is_clipped():
    def step(clip_norm: float) -> float:
        model = small_mma()
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        config = TrainingConfig(clip_norm=clip_norm, batch_size=3)
        train_epoch(model, optimiser, dialogues(3, 0), "conversation", config, None, 0, 0)
        return float((torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before).norm())

    assert step(0.01) == pytest.approx(0.01, rel=1e-3)
    assert step(0) > 0.02


def test_class_weights_and_smoothing_enter_the_loss():
    examples, model = dialogues(3, 0), small_mma()
    batch = collate(examples, "conversation")
    labels, weight = batch.labels.flatten(), torch.tensor([1.0, 2.0, 3.0])
    logits = model(**batch.inputs).flatten(0, 1)
    expected = F.cross_entropy(logits[labels >= 0], labels[labels >= 0], weight, label_smoothing=0.2).item()
    config = TrainingConfig(batch_size=3, label_smoothing=0.2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    assert train_epoch(model, optimiser, examples, "conversation", config, weight, 0, 0) == pytest.approx(expected)


def test_soft_votes_are_the_target():
    torch.manual_seed(0)
    model = build("cma-text", make_config("cma-text", **SIZES["cma-text"], dropout=0.0))
    examples = [replace(e, votes=np.array([[0.2, 0.3, 0.5]])) for e in words(4, 0)]
    log_p = model(**collate(examples, "utterance").inputs).log_softmax(-1).detach()
    expected = -(log_p @ torch.tensor([0.2, 0.3, 0.5])).mean().item()
    config = TrainingConfig(batch_size=4, soft_votes=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    assert train_epoch(model, optimiser, examples, "utterance", config, None, 0, 0) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="some utterance of the corpus has no votes"):
        train_epoch(model, optimiser, words(4, 0), "utterance", config, None, 0, 0)


def rates_of(monkeypatch, config, n_examples):
    """Learning rates of the steps of `fit`; an epoch takes no other step than those of the optimiser."""
    rates = []

    def epoch(model, optimiser, examples, level, settings, *_):
        for _ in range(0, len(examples), settings.batch_size):
            model.zero_grad()
            optimiser.step()
            rates.append(optimiser.param_groups[0]["lr"])
        return 0.0

    monkeypatch.setattr(train_module, "train_epoch", epoch)
    examples = words(n_examples, 0)
    model = build("cma-text", make_config("cma-text", **SIZES["cma-text"]))
    fit(model, examples, examples, level="utterance", n_classes=3, config=config, metric="wa", seed=0)
    return rates


def test_the_learning_rate_falls_along_half_a_cosine(monkeypatch):
    config = TrainingConfig(learning_rate=0.4, batch_size=4, max_epochs=4, patience=0, decay="cosine")
    # (1 + cos(k pi / 4)) / 2 of it for k = 0, 1, 2, 3, all steps of an epoch alike
    expected = [0.4, 0.4 * (2 + 2**0.5) / 4, 0.2, 0.4 * (2 - 2**0.5) / 4]
    assert rates_of(monkeypatch, config, 3) == pytest.approx(expected)
    assert rates_of(monkeypatch, config, 5) == pytest.approx(np.repeat(expected, 2).tolist())


def test_the_learning_rate_rises_and_falls_from_step_to_step(monkeypatch):
    config = TrainingConfig(learning_rate=0.4, batch_size=1, max_epochs=2, decay="linear")
    # of 20 steps 2 rise; then an 18th less each time, and one step would be left at nothing
    falling = [0.4 * left / 18 for left in range(18, 0, -1)]
    assert rates_of(monkeypatch, config, 10) == pytest.approx([0.2, 0.4, *falling])


@pytest.mark.parametrize(("n_train", "n_select"), [(0, 1), (1, 0)])
def test_empty_parts_are_refused(n_train, n_select):
    keywords = {"level": "conversation", "n_classes": 3, "config": TrainingConfig(), "metric": "ua", "seed": 0}
    with pytest.raises(DataError, match=f"{n_train} training and {n_select} selection examples, need at least one"):
        fit(small_mma(), dialogues(n_train, 0), dialogues(n_select, 1), **keywords)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0}, "training.learning_rate is 0, need more than 0"),
        ({"average_epochs": 0}, "training.average_epochs is 0"),
        ({"patience": -1}, "training.patience is -1, need 0 or more"),
        ({"crop_s": -0.5}, "training.crop_s is -0.5"),
        ({"modality_dropout": 1.0}, "training.modality_dropout is 1.0, need 0 or more and less than 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**settings)


@pytest.mark.parametrize("name", ["mman", "clstm-lf"])
def test_a_fusion_trained_on_what_its_parts_gave_once_is_the_same(name, monkeypatch):
    once = run(name)
    calls: list[int] = []

    def every_time(model, examples, device):
        calls.append(len(examples))
        return examples

    monkeypatch.setattr("emofuse.protocol.stages.parts_once", every_time)
    again = run(name)
    assert calls == [10, 6]
    torch.testing.assert_close(dict(once.model.state_dict()), dict(again.model.state_dict()), rtol=1e-4, atol=1e-5)
    for a, b in zip(once.result.history, again.result.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)

import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models import MODELS, build, make_config, n_parameters, system, table


@pytest.fixture(scope="module")
def rows():
    return table()


def test_the_table_lists_every_system(rows):
    assert [row["name"] for row in rows] == list(MODELS)
    for row in rows:
        assert list(row) == ["name", "paper", "level", "modalities", "n_parameters"]
        assert row["level"] in ("utterance", "conversation")
        assert set(row["modalities"]) <= {"speech", "visual", "text"}
        assert row["modalities"]
        assert row["n_parameters"] > 80_000 or row["name"] in ("opensmile-svm", "linear-svm")


def test_counts_of_the_two_papers(rows):
    counts = {row["name"]: row["n_parameters"] for row in rows}
    assert counts["cma"] == 742_888
    assert counts["mman"] == 5_566_384
    assert counts["opensmile-svm"] == 4 * (6373 + 1)
    assert counts["voice-mlp"] == 128 * (646 + 1) + 4 * (128 + 1)
    assert counts["cma-speech"] < counts["cma"] > counts["cma-text"]


def test_modalities_of_the_table_are_those_of_the_networks():
    for name, entry in MODELS.items():
        config = make_config(name)
        if hasattr(config, "modalities"):
            assert entry.modalities == config.modalities
        if hasattr(config, "feature_dims") and len(entry.modalities) == 3:
            assert entry.modalities == tuple(config.feature_dims)


def test_a_systems_own_values_win():
    config = make_config("cma-speech-spectrogram", modalities=["text"], speech_input="waveform", n_bins=40)
    assert config.modalities == ("speech",)
    assert config.speech_input == "spectrogram"
    assert config.n_bins == 40


def test_lists_become_tuples():
    assert make_config("cma", filters=[4, 5, 6]).filters == (4, 5, 6)


def test_an_unknown_system_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown system 'cmma'; known: cma, .*mman") as caught:
        system("cmma")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_setting_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=f"unknown model setting 'hidden' for {name}; known: n_classes") as caught:
        make_config(name, hidden=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("cma", {"scale": "cubic"}, "scale"),
        ("cma", {"d_model": "wide"}, "d_model"),
        ("cma", {"filters": [4, 5]}, "filters"),
        ("mman", {"attention": "cosin"}, "attention"),
        ("mman", {"n_hidden": 2.5}, "n_hidden"),
        ("text-cnn", {"dropout": "much"}, "dropout"),
    ],
)
def test_a_wrong_value_is_refused(name, settings, key):
    with pytest.raises(ConfigError, match=key) as caught:
        make_config(name, **settings)
    assert "\n" not in str(caught.value)


def test_weights_come_from_the_global_generator():
    config = make_config("cma-text", word_dim=4, d_model=4, n_heads=2)
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(build("cma-text", config).state_dict())
    torch.testing.assert_close(models[0], models[1], rtol=0, atol=0)
    assert not torch.equal(models[0]["output.weight"], models[2]["output.weight"])


def test_n_parameters_counts_frozen_ones_too():
    layer = torch.nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    assert n_parameters(layer) == 8

import re
from pathlib import Path

import pytest

from emofuse.errors import ConfigError
from emofuse.protocol.recipe import Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
TEXT = """# Words of IEMOCAP, and a conversation system.
name = "small"
paper = "Krishna & Patil 2020"
command = "emofuse benchmark small.toml"
expected = "UA 0.5"
corpus = "iemocap-table"
protocol = "iemocap4-loso"
systems = ["cma-text", "clstm-mma"]

[features]
speech = { kind = "stored", n_components = 5 }
text = { kind = "words", max_words = 20 }

[model]
n_classes = 4

[training]
batch_size = 8

[overrides.cma-text.model]
d_model = 20
filters = [4, 5, 6]
[overrides.cma-text.training]
learning_rate = 0.01
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_recipe_of_the_repository_loads(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert lines[0].startswith("# ")
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert f"recipes/{path.name}" in recipe.command


def test_settings_reach_their_system(recipe_file):
    recipe = load_recipe(recipe_file)
    assert recipe.training_config("cma-text").learning_rate == 0.01
    assert recipe.training_config("cma-text").batch_size == 8
    assert recipe.training_config("clstm-mma").learning_rate == 1e-3
    sizes = recipe.sizes("cma-text", 4, {"text": 50})
    assert (sizes.word_dim, sizes.d_model, sizes.filters, sizes.modalities) == (50, 20, (4, 5, 6), ("text",))
    sizes = recipe.sizes("clstm-mma", 4, {"speech": 5, "text": 50})
    assert sizes.feature_dims == {"speech": 5, "text": 50}
    assert set(recipe.feature_configs("cma-text")) == {"text"}
    assert recipe.feature_configs("cma-text")["text"].max_words == 20
    assert set(recipe.feature_configs("clstm-mma")) == {"speech", "text"}


def test_a_spectrogram_system_takes_the_spectrogram_of_the_same_speech(recipe_file):
    recipe = load_recipe(
        recipe_file, ["features.speech={kind='waveform', max_s=3.0}", "systems=['cma-spectrogram', 'cma']"]
    )
    assert recipe.feature_configs("cma")["speech"].kind == "waveform"
    spectrogram = recipe.feature_configs("cma-spectrogram")["speech"]
    assert (spectrogram.kind, spectrogram.max_s) == ("spectrogram", 3.0)


REFUSED = {
    "unknown key": ("corpus =", "corpsu = 'x'\ncorpus =", "corpsu"),
    "unknown feature key": ("max_words", "max_word", "features.text.max_word"),
    "unknown override key": (
        "[overrides.cma-text.training]",
        "[overrides.cma-text.trainign]",
        "overrides.cma-text.trainign",
    ),
    "missing key": ('corpus = "iemocap-table"\n', "", "corpus"),
    "wrong type": ('name = "small"', "name = 3", "name"),
    "no systems": ('["cma-text", "clstm-mma"]', "[]", "systems"),
    "unknown corpus": ("iemocap-table", "iemocop", "unknown corpus 'iemocop'; known: iemocap,"),
    "unknown protocol": ("iemocap4-loso", "loso", "unknown protocol 'loso'; known: iemocap4-loso"),
    "unknown system": ('"clstm-mma"', '"clstm"', "unknown system 'clstm'; known: cma"),
    "unknown system in overrides": (
        "overrides.cma-text.training",
        "overrides.cma-txt.training",
        "unknown system 'cma-txt'",
    ),
    "unknown feature kind": ('kind = "words"', 'kind = "bert"', "features.text.kind"),
    "bad feature value": ("max_words = 20", "max_words = 0", "features.text.max_words"),
    "missing feature": ('"clstm-mma"', '"clstm-visual"', "clstm-visual needs features for visual"),
    "missing feature of cma": (
        '"clstm-mma"]\n\n[features]\nspeech = { kind = "stored", n_components = 5 }',
        '"cma"]\n\n[features]',
        "speech",
    ),
    "unknown model setting": ("d_model", "d_modle", "unknown model setting 'd_modle' for cma-text; known: n_classes"),
    "wrong model size": ("d_model = 20", "d_model = 25", "d_model 25 is not a multiple of n_heads 10"),
    "wrong model type": ("d_model = 20", "d_model = 'wide'", "d_model"),
    "wrong model choice": ("d_model = 20", "scale = 'cubic'", "scale"),
    "no heads": ("d_model = 20", "n_heads = 0", "n_heads"),
    "unknown training setting": (
        "learning_rate",
        "learning_rat",
        "unknown training setting 'learning_rat'; known: learning_rate",
    ),
    "bad training value": ("batch_size = 8", "batch_size = 0", "training.batch_size is 0, need more than 0"),
    "wrong training type": ("batch_size = 8", "batch_size = 'all'", "training.batch_size"),
    "fractional batch": ("batch_size = 8", "batch_size = 2.5", "training.batch_size"),
    "votes without a system that learns from them": (
        'protocol = "iemocap4-loso"',
        'protocol = "iemocap4-loso"\nother_labels = "votes"',
        'other_labels = "votes": cma-text learns from no votes; that is for systems that judge utterances one by one',
    ),
    "bad TOML": ("[features]", "[features", "cannot be read as TOML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_recipe_is_refused_in_one_line_that_names_file_and_key(recipe_file, case):
    old, new, message = REFUSED[case]
    assert old in TEXT
    recipe_file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_recipe(recipe_file)
    assert str(caught.value).startswith(f"{recipe_file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_binary_rubbish(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such recipe"):
        load_recipe(tmp_path / "nowhere.toml")
    path = tmp_path / "rubbish.toml"
    path.write_bytes(b"\xff\xfe\x00")
    for wrong in (path, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read as TOML") as caught:
            load_recipe(wrong)
        assert str(caught.value).startswith(f"{wrong}: ")


def test_assignments(recipe_file):
    recipe = load_recipe(
        recipe_file,
        [
            "training.learning_rate=0.0005",
            "training.class_weights = true",
            "name=other one",
            "systems=['cma-text']",
            "overrides.cma-text.training.max_epochs=3",
            "overrides.clstm-mma.model.attention=cosine",
            "features.text.word_vectors=/some/where/glove.txt",
        ],
    )
    assert recipe.training_config("clstm-mma").learning_rate == 0.0005
    assert recipe.training_config("cma-text").learning_rate == 0.01
    assert recipe.training_config("cma-text").max_epochs == 3
    assert recipe.training_config("cma-text").class_weights is True
    assert (recipe.name, recipe.systems) == ("other one", ("cma-text",))
    assert recipe.sizes("clstm-mma", 2, {"speech": 3}).attention == "cosine"
    assert recipe.features["text"].word_vectors == "/some/where/glove.txt"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.batch_size", "--set training.batch_size: need KEY=VALUE"),
        ("=3", "--set =3: need KEY=VALUE"),
        ("name.first=3", "name is a value, not a table"),
        ("training.batch=3", "unknown training setting 'batch'"),
        ("training.batch_size=many", "training.batch_size"),
        ("colour=red", "unknown key 'colour'"),
        ("features.text.kind=bert", "features.text.kind"),
    ],
)
def test_a_wrong_assignment_is_refused_in_one_line(recipe_file, assignment, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_recipe(recipe_file, [assignment])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "assignment",
    [
        "training.learning_rate=0.002",
        "model.n_blocks=1",
        "features.text.max_words=21",
        "overrides.cma-text.model.d_model=30",
        "protocol=iemocap4-s5",
        "other_labels=context",
        "features.speech.relative=true",
        "corpus=iemocap",
        "features.text.kind=text-cnn",
    ],
)
def test_the_fingerprint_changes_with_a_setting(recipe_file, assignment):
    if assignment.startswith("model."):
        recipe_file.write_text(TEXT.replace('["cma-text", "clstm-mma"]', '["cma-text"]'))
    assert load_recipe(recipe_file, [assignment]).fingerprint() != load_recipe(recipe_file).fingerprint()


def test_the_fingerprint_does_not_change_with_prose(recipe_file):
    recipe = load_recipe(recipe_file)
    prose = ["name=x", "paper=y", "command=z", "expected=w", "published.cma-text=0.6", "systems=['cma-text']"]
    assert load_recipe(recipe_file, prose).fingerprint() == recipe.fingerprint()
    for default in (
        "other_labels=drop",
        "permute_labels=false",
        "features.speech.relative=false",
        "features.speech.beside=",
    ):
        assert load_recipe(recipe_file, [default]).fingerprint() == recipe.fingerprint()
    assert recipe.fingerprint("dev") != recipe.fingerprint("test")
    assert re.fullmatch("[0-9a-f]{16}", recipe.fingerprint())


@pytest.mark.parametrize(
    ("protocol", "labels", "message"),
    [
        ("split", None, "protocol split has no labels of its own: set `labels`"),
        ("split", "moods", "unknown label set 'moods'"),
        ("iemocap4-loso", "emotions4", "protocol iemocap4-loso has its own labels: leave `labels` out"),
    ],
)
def test_labels_are_asked_for_where_the_protocol_has_none(recipe_file, protocol, labels, message):
    assignments = [f"protocol={protocol}", *([f"labels={labels}"] if labels else [])]
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_recipe(recipe_file, assignments)


def test_what_a_recipe_stores_is_read_back(recipe_file):
    recipe = load_recipe(recipe_file)
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "words"', 'kind = "wordpieces", encoder = "x"'),
        ('"cma-text", "clstm-mma"', '"minilm"'),
    ],
)
def test_words_that_are_trained_go_with_their_system_alone(recipe_file, old, new):
    recipe_file.write_text(TEXT.replace(old, new).split("[overrides")[0].replace("n_classes = 4", ""))
    with pytest.raises(ConfigError, match="minilm, and no other system, takes"):
        load_recipe(recipe_file)


def test_a_recipe_may_name_what_selects(recipe_file):
    assert load_recipe(recipe_file).primary_metric == "ua"
    assert load_recipe(recipe_file, ["metric=f1_macro"]).primary_metric == "f1_macro"
    with pytest.raises(ConfigError, match="metric"):
        load_recipe(recipe_file, ["metric=ece"])  # less is better


@pytest.mark.parametrize(
    ("system", "further", "message"),
    [
        ("speech-mlp", "meld7", "training_labels meld7: need angry, happy, neutral, sad, then others"),
        ("speech-mlp", "emotions4", "training_labels emotions4: need angry, happy, neutral, sad, then others"),
        ("linear-svm", "emotions7", "training_labels: linear-svm learns no further classes"),
    ],
)
def test_further_classes_begin_with_those_that_are_told(small_recipe, system, further, message):
    features = {"speech": {"kind": "stored"}}
    small_recipe(systems=["speech-mlp"], features=features, training_labels="emotions7")
    with pytest.raises(ValueError, match=re.escape(message)):
        small_recipe(systems=[system], features=features, training_labels=further)


def test_a_recipe_without_further_classes_has_the_fingerprint_of_before(small_recipe):
    content = {"systems": ["speech-mlp"], "features": {"speech": {"kind": "stored"}}}
    assert small_recipe(**content, training_labels=None).fingerprint() == small_recipe(**content).fingerprint()
    assert small_recipe(**content, training_labels="emotions7").fingerprint() != small_recipe(**content).fingerprint()

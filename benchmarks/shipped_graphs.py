"""Make the ONNX graphs that ship with emofuse: of the default model's networks and of the layers of Whisper.

    python benchmarks/shipped_graphs.py

They hold no weights: these are read from the files beside them. `tests/exporting/test_shipped.py` holds that they are
what this makes.
"""

from emofuse.exporting.shipped import shipped_graphs
from emofuse.predictor import default_model

for path, content in shipped_graphs(default_model()).items():
    path.write_bytes(content)
    print(f"{path}: {len(content):,} bytes")

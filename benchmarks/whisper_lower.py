"""Make the weights of `emofuse.features.whisper_lower` from Whisper tiny.en as faster-whisper loads it.

    python benchmarks/whisper_lower.py FOLDER src/emofuse/assets/whisper-tiny.en-lower

FOLDER holds CTranslate2's ``model.bin``. Its format (version 6): little-endian; name, revision and number of
variables; each with name, shape, type and bytes.
"""

import argparse
import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emofuse.checkpoint import write_folder
from emofuse.quantised import pack

N_LAYERS = 2
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
STEM = {f"conv{i}/{part}": f"stem.conv{i}.{part}" for i in (1, 2) for part in ("weight", "bias")}
LAYER = {
    "self_attention/layer_norm/gamma": "attention_norm.weight",
    "self_attention/layer_norm/beta": "attention_norm.bias",
    "self_attention/linear_0/weight": "qkv.weight",
    "self_attention/linear_0/bias": "qkv.bias",
    "self_attention/linear_1/weight": "output.weight",
    "self_attention/linear_1/bias": "output.bias",
    "ffn/layer_norm/gamma": "mlp_norm.weight",
    "ffn/layer_norm/beta": "mlp_norm.bias",
    "ffn/linear_0/weight": "mlp1.weight",
    "ffn/linear_0/bias": "mlp1.bias",
    "ffn/linear_1/weight": "mlp2.weight",
    "ffn/linear_1/bias": "mlp2.bias",
}


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Variables of a CTranslate2 model by name."""

    def number(file: BinaryIO, form: str) -> int:
        return struct.unpack(f"<{form}", file.read(struct.calcsize(form)))[0]

    def text(file: BinaryIO) -> str:
        return file.read(number(file, "H"))[:-1].decode()

    variables: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        version = number(file, "I")
        if version != 6:
            raise SystemExit(f"{path}: version {version} of the format, this script reads 6")
        text(file), number(file, "I")
        for _ in range(number(file, "I")):
            name = text(file)
            shape = [number(file, "I") for _ in range(number(file, "B"))]
            dtype = TYPES[number(file, "B")]
            variables[name] = np.frombuffer(file.read(number(file, "I")), dtype).reshape(shape)
    return variables


def main() -> None:
    """Read, choose, pack, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    variables = read_ctranslate2(args.folder / "model.bin")
    names = {f"encoder/{old}": new for old, new in STEM.items()}
    for i in range(N_LAYERS):
        names |= {f"encoder/layer_{i}/{old}": f"blocks.{i}.{new}" for old, new in LAYER.items()}
    weights = pack({new: variables[old].astype(np.float32) for old, new in names.items()})
    card = (args.out / "README.md").read_text(encoding="utf-8") if (args.out / "README.md").exists() else ""
    write_folder(args.out, {"model.safetensors": weights} | ({"README.md": card} if card else {}))
    print("sha256", hashlib.sha256((args.out / "model.safetensors").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()

"""Make the graph of `emofuse.media.voice` from that of the package silero-vad: the same values, sooner.

    python benchmarks/silero_vad.py silero_vad/data/silero_vad_16k_sequence.onnx OUT.onnx

There every frame is an item of a batch, four steps long, and each of its convolutions a product of matrices by itself.
Here all frames are one picture, a row each, and a convolution is one product.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

TIME = 2
"""Axis of a frame's steps there: (frame, channel, step). Here it is (1, channel, frame, step)."""


def as_picture(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with frames in an axis of their own, from the first convolution to the recurrent layer."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Conv" and node.name != "/output/Conv":  # that one comes behind the recurrent layer
            kernel = weights[node.input[1]]
            kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, :, None], kernel.name))
            for attribute in node.attribute:
                if attribute.name in ("dilations", "kernel_shape", "strides"):
                    attribute.ints[:] = [1, *attribute.ints]
                if attribute.name == "pads":
                    attribute.ints[:] = [0, attribute.ints[0], 0, attribute.ints[1]]
        elif node.op_type == "Slice" and node.name.startswith("/stft/Slice"):
            axes = _values(made[node.input[3]])
            _set(made[node.input[3]], axes + (axes == TIME))
        elif node.op_type == "Unsqueeze":
            _set(made[node.input[1]], np.array([0, 1]))
    # (1, channel, frame, 1) -> (frame, 1, channel)
    (recurrent,) = (node for node in graph.node if node.op_type == "LSTM")
    turned = made[recurrent.input[0]]
    turned.attribute[0].ints[:] = [2, 0, 3, 1]
    whole, turned.output[0] = turned.output[0], f"{turned.output[0]}_with_steps"
    graph.initializer.append(numpy_helper.from_array(np.array([2]), "axis_of_steps"))
    squeeze = helper.make_node("Squeeze", [turned.output[0], "axis_of_steps"], [whole], "/Squeeze")
    graph.node.insert(list(graph.node).index(turned) + 1, squeeze)
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(constant: onnx.NodeProto) -> np.ndarray:
    return numpy_helper.to_array(constant.attribute[0].t)


def _set(constant: onnx.NodeProto, values: np.ndarray) -> None:
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(values))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    onnx.save(as_picture(onnx.load(options.graph)), options.out)


if __name__ == "__main__":
    main()

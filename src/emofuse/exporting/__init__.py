"""From a trained network of torch to an ONNX graph that is compared with it."""

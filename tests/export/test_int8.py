"""What rounding to 8 bits keeps."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from jumok.export.graphs import OPSET, Graphs
from jumok.export.int8 import Examples, in_eight_bits


def test_small_inputs_beside_large_ones_are_not_lost() -> None:
    """One scale for all inputs would be 500 / 128 here, with most inputs between -3 and 3."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 16)).astype(np.float32)
    weight = generator.normal(size=(16, 8)).astype(np.float32)
    x[:, 0] *= 200
    weight[0] /= 200
    made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", s]) for n, s in SIZES)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")],
        "step",
        [next(made)],
        [next(made)],
        [numpy_helper.from_array(weight, "weight")],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    examples = [{"x": part} for part in np.split(x, 4)]
    rounded, _ = in_eight_bits(Graphs(model, model), None, Examples(examples, examples))
    session = onnxruntime.InferenceSession(rounded.step.SerializeToString())
    [found] = session.run(None, {"x": x})
    assert 0 < np.abs(found - x @ weight).max() < 0.15


SIZES = ("x", 16), ("y", 8)

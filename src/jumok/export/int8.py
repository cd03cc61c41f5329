"""Graphs with products in 8 bits, by onnxruntime's own quantisation.

Weights have a scale for each column, and what they are multiplied with has one for all, fixed here
from examples. So a row is rounded in the same way whatever stands beside it in a batch, as it would
not be with scales found anew for every batch. Embeddings are stored in 8 bits; attention and the
encoder's recurrent layers stay in float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from jumok.export.graphs import Graphs, without
from jumok.export.nodes import Nodes

Feeds = dict[str, np.ndarray]


class Examples(NamedTuple):
    """What the graphs are given."""

    start: list[Feeds]
    step: list[Feeds]


def in_eight_bits(graphs: Graphs, examples: Examples) -> Graphs:
    """The graphs with products in 8 bits, rounded as their ``examples`` need it."""
    return Graphs(
        _quantised(graphs.start, examples.start),
        _quantised(graphs.step, examples.step),
        None if graphs.columns is None else _rounded_tables(graphs.columns),
    )


def _quantised(model: onnx.ModelProto, examples: Sequence[Feeds]) -> onnx.ModelProto:
    ready = ONNXModel(without(model))
    ready.replace_gemm_with_matmul()  # whose sums stay in float32
    products = [node for node in ready.model.graph.node if node.op_type == "MatMul"]
    matrices = {one.name for one in ready.model.graph.initializer if len(one.dims) == 2}
    others = [node.name for node in products if node.input[1] not in matrices]
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        stored, result = Path(folder) / "stored.onnx", Path(folder) / "result.onnx"
        quantize_dynamic(ready.model, stored, op_types_to_quantize=["Gather"])
        if len(others) == len(products):
            return onnx.load(stored)
        quantize_static(
            stored,
            result,
            _Reader(examples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=others,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        return onnx.load(result)


def _rounded_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """With matrices that rows are taken from in 8 bits, a scale for each row. What is taken is in
    float32 again, and so is its product: it changes with every batch, so that the runtime could
    not lay it out beforehand."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph, nodes = found.graph, Nodes("rounded")
    tables = {one.name: one for one in graph.initializer if len(one.dims) == 2}
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            nodes.nodes.append(node)
            continue
        table = numpy_helper.to_array(tables.pop(node.input[0]))
        scale = np.abs(table).max(axis=1, keepdims=True) / 127
        rounded = np.rint(table / np.where(scale > 0, scale, 1.0))
        rows, index = nodes.constant(rounded, np.int8), node.input[1]
        taken = nodes("Cast", nodes("Gather", rows, index), to=TensorProto.FLOAT)
        scales = nodes("Gather", nodes.constant(scale, np.float32), index)
        nodes("Mul", taken, scales, made=node.output[0])
    kept = [one for one in graph.initializer if len(one.dims) != 2 or one.name in tables]
    made = helper.make_graph(
        nodes.nodes, graph.name, graph.input, graph.output, [*kept, *nodes.constants]
    )
    found.graph.CopyFrom(made)
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, examples: Sequence[Feeds]) -> None:
        self._left: Iterator[Feeds] = iter(examples)

    def get_next(self) -> Feeds | None:
        """The next example; None at the end."""
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime advises optimisations that lose the names of free axes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

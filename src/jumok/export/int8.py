"""Graphs with products in 8 bits, by onnxruntime's own quantisation.

Weights have a scale for each column, and what they are multiplied with has one for all, fixed here
from examples. So a row is rounded in the same way whatever stands beside it in a batch, as it would
not be with scales found anew for every batch. Embeddings are stored in 8 bits; attention and the
encoder's recurrent layers stay in float32.

A product and the bias after it are one node of onnxruntime's own (`MatMulIntegerToFloat`), which it
makes of a product by itself, without the bias: added apart, it takes a tenth of a search.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
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
        return _with_bias(onnx.load(result))


def _with_bias(model: onnx.ModelProto) -> onnx.ModelProto:
    """Products in 8 bits, each with the bias that is added to it, as one node."""
    graph, constants = model.graph, {one.name: one for one in model.graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    for node in graph.node:
        product = made.get(node.input[0]) if node.op_type == "Add" else None
        if product is None or product.op_type != "MatMul" or uses[product.output[0]] > 1:
            continue
        factors = [made.get(name) for name in product.input]
        bias = constants.get(node.input[1])
        if bias is None or len(bias.dims) != 1 or not all(map(_is_rounded, factors)):
            continue
        rounded, scales, zeros = zip(*(factor.input for factor in factors if factor), strict=True)
        fused = helper.make_node(
            "MatMulIntegerToFloat",
            [*rounded, *scales, *zeros, bias.name],
            [node.output[0]],
            name=node.name,
            domain=_OF_ONNXRUNTIME,
        )
        node.CopyFrom(fused)
    if _OF_ONNXRUNTIME not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_OF_ONNXRUNTIME, 1))
    return without(model)


def _is_rounded(factor: onnx.NodeProto | None) -> bool:
    return factor is not None and factor.op_type == "DequantizeLinear"


_OF_ONNXRUNTIME = "com.microsoft"


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

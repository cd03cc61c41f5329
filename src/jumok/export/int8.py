"""Graphs with products in 8 bits, by onnxruntime's own quantisation.

Weights have a scale for each column, and what they are multiplied with has one for all, fixed here
from examples, after each column of it was divided by a size of its own. So a row is rounded in the
same way whatever stands beside it in a batch, as it would not be with scales found anew for every
batch. Embeddings are stored in 8 bits; attention and the encoder's recurrent layers stay in
float32.

A product and the bias after it are one node of onnxruntime's own (`MatMulIntegerToFloat`), which it
makes of a product by itself, without the bias: added apart, it takes a tenth of a search.

On x86 without VNNI the runtime adds pairs of products in 16 bits, where they saturate. Its session
option against that, ``session.x64quantprecision``, takes other weights, but only where they are
constants of the very graph that a product is in: not those that a loop has from outside, nor a
shortlist's. With it, searches by steps and whole ones would differ; and where there is VNNI, a
product of 16 rows takes 2.5 times as long.
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
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from jumok.export.graphs import Graphs, without
from jumok.export.nodes import Nodes, value

Feeds = dict[str, np.ndarray]


class Examples(NamedTuple):
    """What the graphs are given."""

    start: list[Feeds]
    step: list[Feeds]


def in_eight_bits(
    whole: Graphs, short: Graphs | None, examples: Examples
) -> tuple[Graphs, Graphs | None]:
    """The graphs with products in 8 bits, rounded as the ``examples`` need it.

    Where there are those of a shortlist, the examples are theirs, and of all tokens.
    """
    start = _quantised(whole.start, examples.start)
    rounded = Graphs(start, _quantised(whole.step, examples.step))
    if short is None or short.columns is None:
        return rounded, None
    return rounded, Graphs(start, *_of_candidates(short.step, short.columns, examples.step))


def _of_candidates(
    step: onnx.ModelProto, columns: onnx.ModelProto, examples: Sequence[Feeds]
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The step of a shortlist, and its columns: ``weight (size, some)``, and the ``scale`` of each.

    The step is rounded with the weights of all tokens in it, as the one without a list is, so that
    it has the same numbers; then they are an input again.
    """
    fixed, columns = without(step), without(columns, "weight")
    [weight] = [one for one in fixed.graph.input if one.name == "weight"]
    fixed.graph.input.remove(weight)
    fixed.graph.initializer.append(numpy_helper.from_array(examples[0]["weight"], "every"))
    for node in fixed.graph.node:
        node.input[:] = ["every" if name == "weight" else name for name in node.input]
    rounded = _quantised(fixed, examples)

    stored = {one.name: one for one in rounded.graph.initializer}
    [product] = [
        node
        for node in rounded.graph.node
        if node.op_type == _PRODUCT and node.input[1].startswith("every")
    ]
    weights, scales = stored[product.input[1]], stored[product.input[3]]
    product.input[1], product.input[3], product.input[5] = "weight", "scale", ""  # none but 0
    nodes, given = Nodes("rounded"), "candidates"
    # rows are quickly taken; the runtime makes them when it loads the graph
    rows = nodes("Gather", nodes("Transpose", weights.name, perm=[1, 0]), given)
    nodes("Transpose", rows, perm=[1, 0], made="weight")
    nodes("Gather", scales.name, given, made="scale")
    made = [
        value("weight", weights.data_type, weights.dims[0], "some"),
        value("scale", scales.data_type, "some"),
    ]
    columns.graph.node.extend(nodes.nodes)
    columns.graph.initializer.extend([weights, scales])
    columns.graph.output.extend(made)
    rounded.graph.input.extend(made)
    return without(rounded), columns


def _quantised(model: onnx.ModelProto, examples: Sequence[Feeds]) -> onnx.ModelProto:
    """The model in 8 bits; examples may have more than it reads."""
    ready = ONNXModel(without(model))
    read = {given.name for given in ready.model.graph.input}
    examples = [{name: part for name, part in one.items() if name in read} for one in examples]
    ready.replace_gemm_with_matmul()  # whose sums stay in float32
    products = [node for node in ready.model.graph.node if node.op_type == "MatMul"]
    matrices = {one.name for one in ready.model.graph.initializer if len(one.dims) == 2}
    others = [node.name for node in products if node.input[1] not in matrices]
    _balance(ready.model, [node for node in products if node.name not in others], examples)
    ready.clean_initializers()
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
        return _in_one_node(onnx.load(result))


def _balance(
    model: onnx.ModelProto, products: Sequence[onnx.NodeProto], examples: Sequence[Feeds]
) -> None:
    """Divide the inputs of ``products`` by sizes of their own, and multiply weights with these.

    With one scale for all inputs, those that are small beside others would be rounded coarsely.
    Xiao et al. 2023 (SmoothQuant), eq. 3 and 4: Y = (X diag(s)^-1) (diag(s) W), where
    s_j = max|X_j|^a / max|W_j|^(1-a), a = `_ALPHA`; X is of the examples.
    """
    graph = model.graph
    matrices = {one.name: one for one in graph.initializer}
    largest = _largest(model, {node.input[0] for node in products}, examples)
    divisions = {}
    for node in products:
        x, weight = node.input[0], numpy_helper.to_array(matrices[node.input[1]])
        inputs, weights = (np.maximum(part, 1e-6) for part in (largest[x], np.abs(weight).max(1)))
        sizes = inputs**_ALPHA / weights ** (1 - _ALPHA)
        scope = f"{node.input[1]}/{node.name}"
        for name, array in (("weight", weight * sizes[:, None]), ("factor", 1 / sizes)):
            tensor = numpy_helper.from_array(array.astype(np.float32), f"{scope}/{name}")
            graph.initializer.append(tensor)
        node.input[:] = [f"{scope}/x", f"{scope}/weight"]
        divided = helper.make_node("Mul", [x, f"{scope}/factor"], [node.input[0]], name=scope)
        divisions[node.name] = divided
    nodes = [
        part
        for node in graph.node
        for part in (divisions.get(node.name), onnx.NodeProto.FromString(node.SerializeToString()))
        if part is not None
    ]
    graph.ClearField("node")
    graph.node.extend(nodes)


def _largest(
    model: onnx.ModelProto, names: set[str], examples: Sequence[Feeds]
) -> dict[str, np.ndarray]:
    """The largest number of each column, in examples, of the values with these names."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    made = sorted(names - {given.name for given in model.graph.input})
    there = {output.name for output in model.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in there)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # or it warns of weights that only another graph has
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    found: dict[str, np.ndarray] = {}
    for example in examples:
        inner = session.run(made, example) if made else []  # without names it would give all
        values = {**example, **dict(zip(made, inner, strict=True))}
        for name in names:
            size = np.abs(values[name].reshape(-1, values[name].shape[-1])).max(axis=0)
            found[name] = np.maximum(found.get(name, 0.0), size)
    return found


def _in_one_node(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each product in 8 bits as one node, with the bias that is added to it."""
    graph, constants = model.graph, {one.name: one for one in model.graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    for node in reversed(graph.node):  # of a sum before that of its product alone
        product, bias = node, ""
        if node.op_type == "Add" and uses[node.input[0]] == 1:
            product, bias = made.get(node.input[0], node), node.input[1]
        if product.op_type != "MatMul" or (bias and not _is_vector(constants.get(bias))):
            continue
        factors = [made.get(name) for name in product.input]
        if not all(map(_is_rounded, factors)):
            continue
        rounded, scales, zeros = zip(*(factor.input for factor in factors if factor), strict=True)
        fused = helper.make_node(
            _PRODUCT,
            [*rounded, *scales, *zeros, bias],
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


def _is_vector(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and len(tensor.dims) == 1


_ALPHA = 0.5
_PRODUCT, _OF_ONNXRUNTIME = "MatMulIntegerToFloat", "com.microsoft"


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

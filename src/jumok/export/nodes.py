"""Writing ONNX graphs node by node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper


class Nodes:
    """The nodes of a graph, or of a body within one, in their order; values go by their names."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(
        self, operator: str, *inputs: str, made: str | Sequence[str] = "", **attributes: Any
    ) -> str:
        """Add a node; the name of its first output, found for it unless it is said (``made``)."""
        name = f"{self.scope}/{operator}_{len(self.nodes)}"
        outputs = [made or name] if isinstance(made, str) else list(made)
        node = helper.make_node(operator, inputs, outputs, name=name, **attributes)
        self.nodes.append(node)
        return outputs[0]

    def several(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with so many outputs; their names."""
        names = [f"{self.scope}/{operator}_{len(self.nodes)}_{n}" for n in range(outputs)]
        self(operator, *inputs, made=names, **attributes)
        return names

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """A number or an array of them."""
        name = f"{self.scope}/constant_{len(self.constants)}"
        array: np.ndarray = np.asarray(value, dtype=dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def insert(self, graph: onnx.GraphProto, given: Mapping[str, str], scope: str) -> None:
        """All of another graph, its inputs being values of this one. What it makes is then called
        ``scope/NAME``."""
        inner = compose.add_prefix_graph(graph, f"{scope}/")
        names = {f"{scope}/{theirs}": ours for theirs, ours in given.items()}
        for node in inner.node:
            for place, name in enumerate(node.input):
                node.input[place] = names.get(name, name)
        self.nodes.extend(inner.node)
        self.constants.extend(inner.initializer)

    def body(
        self, name: str, inputs: Iterable[onnx.ValueInfoProto], outputs: Iterable[str]
    ) -> onnx.GraphProto:
        """These nodes as the body of a loop. Their constants stay with the graph around it."""
        made = [onnx.ValueInfoProto(name=output) for output in outputs]  # of types that follow
        return helper.make_graph(self.nodes, name, list(inputs), made)


def value(name: str, dtype: int, *shape: str | int) -> onnx.ValueInfoProto:
    """An input or output; an axis with a name is free."""
    return helper.make_tensor_value_info(name, dtype, shape)


def some_value(name: str, dtype: int) -> onnx.ValueInfoProto:
    """One of any shape."""
    return helper.make_tensor_value_info(name, dtype, None)

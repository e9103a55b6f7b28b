"""An ONNX graph while it is being put together."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: ArrayLike) -> str:
        """Store an array, whose type the file keeps."""
        self.constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, value: str, sizes: list[int], outputs: list[str]) -> list[str]:
        """Cut (B, sum of sizes) into pieces along the second axis."""
        lengths = self.constant(f"sizes in {value}", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [value, lengths], outputs, name=f"split {value}", axis=1))
        return outputs

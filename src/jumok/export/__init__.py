"""Models as ONNX graphs, which run without torch: `jumok export`."""

from jumok.export.write import Exports, export

__all__ = ["Exports", "export"]

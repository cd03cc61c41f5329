"""Models as ONNX graphs, which run without torch: `jumok export`."""

from jumok.export.write import Report, export

__all__ = ["Report", "export"]

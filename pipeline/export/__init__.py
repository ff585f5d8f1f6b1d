"""Stage 5: write the model in every format it leaves in, and prove that each computes the same."""

from pipeline.export.onnx import Onnx

__all__ = ["Onnx"]

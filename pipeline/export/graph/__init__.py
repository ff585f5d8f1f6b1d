"""From a torch model to two ONNX graphs: a flat one for tools and a folded one for people."""

from pipeline.export.graph.files import save
from pipeline.export.graph.folding.sections import gather
from pipeline.export.graph.folding.view import fold
from pipeline.export.graph.repeating.expand import Irregular, lengthen
from pipeline.export.graph.repeating.repeat import shorten
from pipeline.export.graph.tracing.trace import trace

__all__ = ["Irregular", "fold", "gather", "lengthen", "save", "shorten", "trace"]

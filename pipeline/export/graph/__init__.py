"""From a torch model to two ONNX graphs: a flat one for tools and a folded one for people."""

from pipeline.export.graph.expand import Irregular, lengthen
from pipeline.export.graph.files import save
from pipeline.export.graph.repeat import shorten
from pipeline.export.graph.sections import gather
from pipeline.export.graph.trace import trace
from pipeline.export.graph.view import fold

__all__ = ["Irregular", "fold", "gather", "lengthen", "save", "shorten", "trace"]

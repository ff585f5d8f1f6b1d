"""Stage 2: rows of text or images with what is to be learned of each, as Arrow tables."""

from pipeline.data.digits import Digits
from pipeline.data.files import Csv, JsonLines, Parquet
from pipeline.data.hub import Hub
from pipeline.data.images import ImageFolder
from pipeline.data.none import NoRows
from pipeline.data.shipped import Shipped

__all__ = ["Csv", "Digits", "Hub", "ImageFolder", "JsonLines", "NoRows", "Parquet", "Shipped"]

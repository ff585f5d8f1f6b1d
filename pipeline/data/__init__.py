"""Stage 2: rows of text with a label each, tokenised once into Arrow tables."""

from pipeline.data.files import Csv, JsonLines, Parquet
from pipeline.data.hub import Hub
from pipeline.data.none import NoRows
from pipeline.data.shipped import Shipped

__all__ = ["Csv", "Hub", "JsonLines", "NoRows", "Parquet", "Shipped"]

"""What `config.json` says of a user's own model: all that is needed to build it again."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from pipeline.own import MODEL_TYPE

__all__ = ["OwnConfig"]


class OwnConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is not typed
    """Either a class and its arguments, or the graph of an exported program."""

    model_type = MODEL_TYPE

    class_path: str | None = None
    """Where the class is: `my_net.Net`. Importing it takes the user's consent."""
    arguments: dict[str, Any] | None = None
    """Keyword arguments of the class, without the number of labels."""
    labels_as: str | None = None
    """Which argument of the class is the number of labels; None if it has none."""
    source: str | None = None
    """Digest of the source of the class, as `digest` gives it; None is not compared."""
    program: dict[str, Any] | None = None
    """The graph, as `read_program` gives it."""
    outputs: int | None = None
    """How many outputs it has whatever the labels are; None if they follow the labels."""
    head: list[str] | None = None
    """Names of the modules that make the outputs."""
    image_size: int = 28
    """Height and width, pixels."""
    num_channels: int = 1
    tie_word_embeddings: bool = False
    """There are none; weights that are shared are found in the module itself."""

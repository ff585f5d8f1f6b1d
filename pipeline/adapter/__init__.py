"""Stage 3: insert an adapter, freeze the rest, and say exactly where it sits."""

from pipeline.adapter.lora import Lora

__all__ = ["Lora"]

"""Stage 3: insert an adapter, freeze the rest, and say exactly where it sits."""

from pipeline.adapter.existing import Existing
from pipeline.adapter.lora import Lora
from pipeline.adapter.qlora import QLora

__all__ = ["Existing", "Lora", "QLora"]

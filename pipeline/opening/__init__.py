"""`python -m pipeline open FILE`: what a file of a model holds, and its graph if it has one.

Nothing in a file is run to say so, and torch is imported only to draw.
"""

from __future__ import annotations

from pipeline.opening.asked import Asked, is_model
from pipeline.opening.opened import opened

__all__ = ["Asked", "is_model", "opened"]

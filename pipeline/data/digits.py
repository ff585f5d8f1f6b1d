"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.artifacts import HashedFile
from pipeline.data.images import Images
from pipeline.errors import MachineError
from pipeline.rows import Raw, Rows
from pipeline.seal import sha256
from pipeline.tasks.pictures import as_picture

__all__ = ["Digits"]

_DARKEST = 16
"""Of a pixel: how many of the 4 x 4 points it stands for are black."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Digits(Images):
    """1,797 images of 8 x 8 pixels in shades of grey, of ten digits; some 180 of each.

    Source: Alpaydin, Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49: its test set.
    """

    @property
    def inputs(self) -> dict[str, str]:
        return {"image": "image"}

    def load(self) -> dict[str, Raw]:
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        loaded = load_digits()
        images: list[object] = []
        for pixels in loaded.images:
            stream = io.BytesIO()
            grey = (pixels * (255 / _DARKEST)).round().astype(np.uint8)
            Image.fromarray(grey).save(stream, "PNG")
            images.append(as_picture(stream.getvalue()))
        rows = Rows(
            names=("image", "label"),
            columns={"image": images, "label": [str(label) for label in loaded.target]},
            places=range(1, len(images) + 1),
            unit="image",
        )
        file = _file()
        hashed = HashedFile(path=file, sha256=sha256(file), size=file.stat().st_size)
        return {"train": Raw(rows=rows, key="data", origin="digits", file=hashed)}

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of scikit-learn's file, by its absolute path."""
        file = _file()
        return {str(file): sha256(file)}


def _file() -> Path:
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        raise MachineError(f"data: scikit-learn is not whole: there is no {file}; install it again")
    return file

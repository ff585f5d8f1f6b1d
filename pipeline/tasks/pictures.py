"""Images as they are found, encoded in a file or in memory, and as a model is shown them."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.artifacts import BaseModel

__all__ = ["Picture", "as_picture", "channels_of", "check_picture", "decoded", "thumbnail"]

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""As Pillow names them; others can start programs, or are of no use to a model."""
_SHOWN = "PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_NO_COLOURS = ("I", "F")
_THUMB = 64
"""Pixels of the longer side."""
_SEVERAL_IN_ONE = ("MPO",)
"""Formats in which cameras put previews behind the photo: its first image is the photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An encoded image; two with the same bytes are equal."""

    sha256: str
    """Of its bytes."""
    path: Path | None = field(repr=False, compare=False)
    """Where it lies, if it is a file."""
    data: bytes | None = field(repr=False, compare=False)
    """Its bytes, if it is none."""

    def read(self) -> bytes:
        """Return the encoded image."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        return self.path.read_bytes()


def as_picture(value: object) -> Picture:
    """Return a value of a column as an image.

    Args:
        value: A `Picture`, its bytes, or `{"bytes": ..., "path": ...}` as `datasets` keeps images.

    Raises:
        ValueError: It is none; says what it is.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, Mapping):
        if value.get("bytes") is None and value.get("path"):
            raise ValueError(
                f"names the file {value['path']!r} and does not hold it; use data=image_folder"
            )
        value = value.get("bytes", value)
    if isinstance(value, bytes):
        return Picture(sha256=hashlib.sha256(value).hexdigest(), path=None, data=value)
    held = "text" if isinstance(value, str) else f"values of type {type(value).__name__}"
    raise ValueError(f"holds {held}, not images; use data=image_folder, or data=digits")


def check_picture(encoded: bytes) -> None:
    """Refuse what cannot be shown to a model as it is.

    Raises:
        ValueError: Says what is wrong with it.
    """
    if not encoded:
        raise ValueError("is empty (0 bytes)")
    image = _opened(encoded)
    image.draft("L", (1, 1))  # the whole JPEG is read, and an eighth of it computed
    try:
        image.load()
        image.getexif()
    except Exception as error:  # of each kind of damage another, from a dozen decoders
        raise ValueError(f"is damaged or cut off: {' '.join(str(error).split())}") from error


def decoded(encoded: bytes, channels: int) -> Image:
    """Return an image as a model is shown it: 8 bits a colour, upright.

    What is transparent shows white; 16 bits are scaled to 8, not cut.

    Args:
        encoded: What `check_picture` accepts.
        channels: 1 for shades of grey (the luminance of colours), 3 for colours (grey three times).
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(_opened(encoded))  # phones turn the mark, not the pixels
    if image.mode in _SIXTEEN_BITS:
        import numpy as np

        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype("u1"))
    if image.has_transparency_data:
        upper = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper)
    return image.convert("RGB").convert("L" if channels == 1 else "RGB")


def thumbnail(encoded: bytes) -> bytes:
    """Return a PNG of at most 64 x 64 pixels, upright and with nothing beside the pixels.

    Args:
        encoded: What `check_picture` accepts.
    """
    image = decoded(encoded, 3)
    image.thumbnail((_THUMB, _THUMB))
    image.info.clear()  # where it was taken, and by whom
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _opened(encoded: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()  # else it knows half of the formats
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"is no {_SHOWN} image{_instead(encoded)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"unpacks to more than {Image.MAX_IMAGE_PIXELS:,} pixels, as a decompression bomb "
            "does; make it smaller"
        ) from error
    except Exception as error:  # a header that a decoder stumbles over
        raise ValueError(f"is damaged: {' '.join(str(error).split())}") from error
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _SEVERAL_IN_ONE:
        raise ValueError(f"holds {frames} images (an animation or pages); save one of them alone")
    if image.mode in _NO_COLOURS:
        raise ValueError(
            f"holds numbers of 32 bits (mode {image.mode}), not colours; save it with 8 or 16 bits"
        )
    return image


def _instead(encoded: bytes) -> str:
    start = encoded[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return ", but a web page; download the image itself"
    if start.startswith(b"version https://git-lfs"):
        return ", but a git-lfs pointer; run `git lfs pull`"
    return ""


def channels_of(base: BaseModel) -> int:
    """Return how many numbers a pixel has in what a model reads: 3 for colours, 1 for grey."""
    return channels_in(base.load_config())


def channels_in(config: Any) -> int:
    """Return the same, from a config; timm's models have it elsewhere."""
    if isinstance(channels := getattr(config, "num_channels", None), int):
        return channels
    arguments = getattr(config, "model_args", None) or {}
    size = (getattr(config, "pretrained_cfg", None) or {}).get("input_size") or (3,)
    return int(arguments.get("in_chans", size[0]))

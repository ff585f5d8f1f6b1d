"""Where the shipped YAML lives: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["recipe_names", "shipped_folder"]

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Return the folder `configs` or `recipes` that came with this installation.

    Raises:
        FileNotFoundError: Neither place has it; the installation is broken.
    """
    # A checkout first: an editable install also leaves a stale copy in `_shipped`.
    places = (_PACKAGE.parent / name, _PACKAGE / "_shipped" / name)
    checkout = (_PACKAGE.parent / "pyproject.toml").is_file()
    for place in places if checkout else places[::-1]:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {name!r}; looked in {', '.join(map(str, places))}")


def recipe_names() -> tuple[str, ...]:
    """Return the names of the shipped recipes, sorted."""
    root = shipped_folder("recipes")
    return tuple(
        sorted(str(file.relative_to(root).with_suffix("")) for file in root.rglob("*.yaml"))
    )

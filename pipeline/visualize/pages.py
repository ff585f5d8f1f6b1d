"""Our own pages: a template, text that is escaped, and data that needs no server to be read."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["Figure", "number", "percent", "put_page", "rounded"]

_ASSETS = Path(__file__).parent / "assets" / "page"

Figure = tuple[str, str]
"""A name and what it is."""


def put_page(
    template: str, target: Path, texts: Mapping[str, str], data: object, also: Iterable[str]
) -> None:
    """Write a page, and beside it, in `page/`, the files it uses.

    Args:
        template: Name of the HTML file among the assets, with `{{name}}` where a text goes.
        target: The file to write.
        texts: What goes where; escaped here.
        data: What the page's script reads, as JSON can hold it.
        also: Names of the style sheets and scripts of the page.
    """
    page = (_ASSETS / template).read_text(encoding="utf-8")
    given = {name: html.escape(text) for name, text in texts.items()} | {"data": _json(data)}
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: given[match[1]], page)
    target.write_text(page, encoding="utf-8")
    (target.parent / "page").mkdir(exist_ok=True)
    for name in also:
        shutil.copyfile(_ASSETS / name, target.parent / "page" / name)


def _json(data: object) -> str:
    """Return JSON that no name in it can end the script element of, whatever it contains."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return re.sub(r"[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def number(value: float, billion: str = "B") -> str:
    """Return a count as a person reads it: `77,578` or `22.8 M`.

    Args:
        value: At least 0.
        billion: What to call 1e9: `B` of parameters, `G` of operations.
    """
    # Rounded first, to what the unit below would show: 999,960,000 is 1.0 B, not 1,000.0 M.
    for unit, size, step in (("T", 1e12, 1e8), (billion, 1e9, 1e5), ("M", 1e6, 1)):
        if round(value / step) * step >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    """Return a share with two figures that count: `0.34 %`."""
    return f"{100 * part / whole:.2g} %" if whole else "0 %"


def rounded(value: float) -> str:
    """Return a measured number: `0.0123`."""
    return f"{value:.4g}"

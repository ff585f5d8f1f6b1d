"""The server that a browser draws pictures for.

The page `draw.html` shows Netron's, lets it export, and gives the pictures to the server that it
came from. It is served while we draw, and is not in the folder.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import Any

from pipeline.visualize.server import Handler, Server

__all__ = ["Studio"]

_ASSETS = Path(__file__).parent / "assets" / "netron"
_LARGEST = 64_000_000
"""Bytes of a picture."""


class Studio(Server):
    """Serves the folder and the page that draws, and takes the pictures."""

    def __init__(self, folder: Path, way: tuple[str, ...], seconds: float) -> None:
        """Take the folder, with Netron in it.

        Args:
            folder: To draw from.
            way: Nodes to open for the second pair of pictures; none for the first pair alone.
            seconds: After which the browser is no longer kept waiting.
        """
        super().__init__(folder)
        self._secret = secrets.token_urlsafe()  # others on this machine can reach the port
        self.way = way
        self.seconds = seconds
        self.names = ["model.svg", "model.png"]
        if way:
            self.names += ["block.svg", "block.png"]
        self.pictures: dict[str, bytes] = {}
        self.done = Event()

    @property
    def handler(self) -> Callable[..., Handler]:
        return partial(_Easel, studio=self)

    @property
    def page(self) -> str:
        """The URL of the page that draws."""
        return f"{self.address}{self._secret}/draw.html"

    def take(self, name: str, picture: bytes) -> None:
        """Keep a picture; with the last of them it is `done`."""
        self.pictures[name] = picture
        if set(self.pictures) == set(self.names):
            self.done.set()

    def name_in(self, path: str) -> str | None:
        """Return the name of what only the page that draws may ask for; None for all else."""
        secret, _, name = path.removeprefix("/").partition("/")
        return name if secrets.compare_digest(secret.encode(), self._secret.encode()) else None


class _Easel(Handler):
    def __init__(self, *args: Any, studio: Studio, **named: Any) -> None:
        self._studio = studio
        super().__init__(*args, **named)

    def do_GET(self) -> None:  # noqa: N802
        name = self._studio.name_in(self.path)
        if name is None or not self.is_welcome():
            super().do_GET()
        elif name == "wait":
            # A browser that dumps a page ends when the page has loaded all it asks for.
            self._studio.done.wait(self._studio.seconds)
            self.send_error(HTTPStatus.NOT_FOUND)
        elif name == "way.json":
            self._answer(json.dumps(self._studio.way).encode(), name)
        elif name in ("draw.html", "draw.js"):
            self._answer((_ASSETS / name).read_bytes(), name)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:  # noqa: N802
        name = self._studio.name_in(self.path)
        size = self.headers.get("Content-Length", "")
        if name not in self._studio.names or not self.is_welcome() or not size.isdecimal():
            self.send_error(HTTPStatus.NOT_FOUND)
        elif int(size) > _LARGEST:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            picture = self.rfile.read(int(size))
            if len(picture) == int(size):  # less: the browser went away
                self._studio.take(name, picture)
                self._answer(b"", name)

    def _answer(self, content: bytes, name: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(name))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

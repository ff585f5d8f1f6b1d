"""A web server for one folder on this machine, for this machine only.

Not Netron's own: that one serves every file below the model's folder to any `Host`, and two of
them in one process both show the last model.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import socketserver
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from pipeline.errors import MachineError

if TYPE_CHECKING:
    from io import BytesIO
    from typing import BinaryIO

__all__ = ["Handler", "Server"]

log = logging.getLogger(__name__)

_LOOPBACK = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
"""What `localhost` stands for; a browser may try either first."""
_HOST = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_TRIES = 8
"""Free ports to try until one is free at both addresses."""
_HEADERS = {
    # Netron styles elements in place; the images are its exports.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",  # the next run may use the same port
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Set-Cookie": "consent=1; SameSite=Strict",  # to the cookies of Netron, which are none
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """Serves the files of one folder at `http://localhost:PORT/` inside a `with` block."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Take the folder as it is now: a file that comes later is not served.

        Args:
            folder: Static files, `index.html` among them; those of folders inside it as well.
            port: 0 stands for any free one.
        """
        self._folder = folder
        self._port = port

    def __enter__(self) -> Self:
        """Start to serve.

        Raises:
            MachineError: The port is in use or not allowed.
        """
        try:
            self._open = _bind(partial(self.handler, directory=str(self._folder)), self._port)
        except OSError as error:
            raise _in_words(self._port, error) from error
        names = _names(self._folder)
        for http in self._open:
            http.names = names
            # Polling decides how long `__exit__` takes.
            Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and free the port."""
        for http in self._open:
            http.shutdown()
            http.server_close()

    @property
    def handler(self) -> Callable[..., Handler]:
        """What answers a request."""
        return Handler

    @property
    def address(self) -> str:
        """The URL of the page. `localhost`, since Netron cannot keep a cookie for a number."""
        return f"http://localhost:{self._open[0].server_port}/"


def _names(folder: Path) -> frozenset[str]:
    """Return what may be asked for: the files below `folder`, with `/` between folders."""
    return frozenset(
        "/".join((*Path(root).relative_to(folder).parts, name))
        for root, _, names in os.walk(folder)  # links to folders are not followed
        for name in names
        if (file := Path(root, name)).is_file() and not file.is_symlink()
    )


def _bind(handler: Callable[..., Handler], port: int) -> list[_Http]:
    """Listen at both addresses that `localhost` has, on one port.

    Raises:
        OSError: IPv4's is in use or not allowed, or IPv6's is in use.
    """
    for tries in range(_TRIES, 0, -1):
        first = _Http(("127.0.0.1", port), handler)
        try:
            return [first, _Http(("::1", first.server_port), handler)]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return [first]  # a machine without IPv6
            first.server_close()
            if port or tries == 1:
                raise
    raise AssertionError


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it lets a second server take the port
    names: frozenset[str] = frozenset()

    def __init__(self, address: tuple[str, int], handler: Callable[..., Handler]) -> None:
        self.address_family = _LOOPBACK[address[0]]
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # The base class asks the name service who 127.0.0.1 is, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Most often a browser that went away. The base class calls this where it caught the error.
        log.debug("request from %s failed", client_address, exc_info=True)  # noqa: LOG014


class Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD for the names its server knows, and refuses all else."""

    server: _Http
    timeout = 10  # seconds for a client that says nothing
    extensions_map = {  # noqa: RUF012 - the base class has a dict here
        # Given in full: what the system would guess differs, and `nosniff` makes that matter.
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".ico": "image/x-icon",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
        "": "application/octet-stream",
    }

    def send_head(self) -> BytesIO | BinaryIO | None:
        """Refuse what is not ours to serve; the base class streams the rest."""
        if not self.is_welcome():
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        if self._name() not in self.server.names:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def is_welcome(self) -> bool:
        """Tell whether the request names this machine, once.

        Another name that leads here is a page of someone else's reading this one (DNS rebinding).
        Any port: it may be forwarded, as by ssh -L.
        """
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory, self._name()))

    def guess_type(self, path: Any) -> str:
        return self.extensions_map.get(Path(path).suffix, self.extensions_map[""])

    def _name(self) -> str:
        name = unquote(self.path.partition("?")[0]).removeprefix("/")
        return f"{name}index.html" if not name or name.endswith("/") else name

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer in one plain line: the base class would repeat the request in HTML."""
        # The base class calls a method it has no `do_METHOD` for 501.
        known = code != HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus(code) if known else HTTPStatus.METHOD_NOT_ALLOWED
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "pipeline"  # and not which Python

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _in_words(port: int, error: OSError) -> MachineError:
    if error.errno == errno.EADDRINUSE:
        why = "is in use"
    elif error.errno == errno.EACCES:
        why = "needs special rights"
    else:
        why = f"cannot be opened ({error.strerror})"
    return MachineError(f"visualize.port: {port} {why}; choose another one, or 0 for any free one")

"""A web server for one view on this machine, for this machine only.

Not Netron's own: that one serves every file below the model's folder to any `Host`, and two of
them in one process both show the last model.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socketserver
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

__all__ = ["Server"]

log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_HEADERS = {
    # Netron styles elements in place; the images are its exports.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
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
            folder: Static files, `index.html` among them; folders inside it are not served.
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
            self._http = _Http(self._folder, self._port)
        except OSError as error:
            raise _in_words(self._port, error) from error
        # Polling decides how long `__exit__` takes.
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and free the port."""
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        """The URL of the page. `localhost`, since Netron cannot keep a cookie for a number."""
        return f"http://localhost:{self._http.server_port}/"


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it lets a second server take the port

    def __init__(self, folder: Path, port: int) -> None:
        self.names = frozenset(
            file.name for file in folder.iterdir() if file.is_file() and not file.is_symlink()
        )
        super().__init__((_LOOPBACK, port), partial(_Handler, directory=str(folder)))

    def server_bind(self) -> None:
        # The base class asks the name service who 127.0.0.1 is, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Most often a browser that went away. The base class calls this where it caught the error.
        log.debug("request from %s failed", client_address, exc_info=True)  # noqa: LOG014


class _Handler(SimpleHTTPRequestHandler):
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
        ".txt": "text/plain; charset=utf-8",
        "": "application/octet-stream",
    }

    def send_head(self) -> BytesIO | BinaryIO | None:
        """Refuse what is not ours to serve; the base class streams the rest."""
        hosts = self.headers.get_all("Host", [])
        # Another name that leads here is a page of someone else's reading this one (DNS
        # rebinding). Any port: it may be forwarded, as by ssh -L.
        if len(hosts) != 1 or not re.fullmatch(r"(?i)(localhost|127\.0\.0\.1)(:\d+)?", hosts[0]):
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        if self._name() not in self.server.names:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory, self._name()))

    def guess_type(self, path: Any) -> str:
        return self.extensions_map.get(Path(path).suffix, self.extensions_map[""])

    def _name(self) -> str:
        return unquote(self.path.partition("?")[0]).removeprefix("/") or "index.html"

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

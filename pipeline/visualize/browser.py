"""A browser without a window, for a short while."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

import psutil

__all__ = ["find_browser", "visit"]

_NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge",
    "microsoft-edge", "microsoft-edge-stable", "brave-browser",
)  # fmt: skip
_ELSEWHERE = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    ),
}
_ARGUMENTS = (
    "--headless", "--disable-gpu", "--hide-scrollbars", "--mute-audio", "--no-first-run",
    "--no-default-browser-check", "--window-size=1440,900",
    # It speaks to nobody but our server.
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-domain-reliability", "--disable-extensions", "--disable-sync", "--no-pings",
    "--metrics-recording-only", "--disable-breakpad", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
    "--disable-features=OptimizationHints,Translate,MediaRouter,DialMediaRouteProvider",
    "--password-store=basic", "--use-mock-keychain", "--disable-dev-shm-usage",
)  # fmt: skip


def find_browser() -> str | None:
    """Return the program of a Chromium, Chrome or Edge on this machine, or None."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return found or next(filter(os.path.isfile, _ELSEWHERE.get(sys.platform, ())), None)


def visit(program: str, address: str, until: Callable[[float], bool], seconds: float) -> bool:
    """Show a page to nobody until something happens; then, or when time is up, end the browser.

    Args:
        program: As `find_browser` gives it.
        address: Of the page.
        until: Waits up to the seconds given for what should happen; returns whether it did.
        seconds: The time there is.

    Returns:
        Whether it happened.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [program, *_ARGUMENTS, f"--user-data-dir={profile}", "--dump-dom"]
        if os.name == "posix" and os.geteuid() == 0:
            arguments.append("--no-sandbox")  # root, as in a container, starts it in no other way
        process = subprocess.Popen(  # noqa: S603 - a browser of this machine, on a page of ours
            [*arguments, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=profile,
        )
        try:
            return _wait(process, until, seconds)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], until: Callable[[float], bool], seconds: float) -> bool:
    step = 0.2
    for _ in range(round(seconds / step)):
        if until(step):
            return True
        if process.poll() is not None:
            return until(0)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser and every process of its own."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=2)
    process.wait()

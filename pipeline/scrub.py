"""Nothing secret in what we write: find tokens, passwords and keys, and put *** in their place.

A secret is the value of an environment variable whose name says so, or text in the form of a known
kind of token. Standard library only: every process needs this before anything else.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "find_secret",
    "named_like_a_secret",
    "scrub",
    "scrub_logging",
    "scrubbed",
    "secrets_in",
    "trace_of",
    "why_refused",
]

_MASK = "***"
_SHORTEST = 8
"""Characters of a value that a variable's name alone makes a secret: shorter ones are words."""

_SECRET_VARIABLE = re.compile(r"(TOKEN|_KEY|APIKEY|SECRET|PASSWD)$|PASSWORD", re.IGNORECASE)
_SECRET_KEY = re.compile(
    r"([a-z0-9]+_)*(password|passwd|passphrase|secret|credentials?|(api|access|private|secret)_?key"
    r"|((hf|hub|auth|access|api|bearer|session|refresh|github|gh|wandb)_?)?token)",
    re.IGNORECASE,
)
_WORD_TOKEN = re.compile(r"(bos|eos|pad|unk|cls|sep|mask|image|audio|video|special|extra)_tokens?")

_KINDS = {
    "a Hugging Face token": r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{16,}",
    "an API key": r"(?<![A-Za-z0-9])sk-(?:[a-z]{2,10}-[\w-]{16,}|[A-Za-z0-9]{16,})"
    r"|(?<![A-Za-z0-9])AIza[\w-]{35}",
    "a GitHub token": r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,})",
    "a GitLab token": r"(?<![A-Za-z0-9])glpat-[\w-]{16,}",
    "a PyPI token": r"(?<![A-Za-z0-9])pypi-[\w-]{32,}",
    "an AWS key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
    "a Slack token": r"(?<![A-Za-z0-9])xox[a-z]-[A-Za-z0-9-]{10,}",
    "a JSON web token": r"(?<![A-Za-z0-9])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
    "a private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r"(?:[\s\S]*?-----END [A-Z ]{0,30}PRIVATE KEY-----|[\s\S]*)",
    "a password in an address": r"(?<=://)[^\s/:@]{0,200}:[^\s/@]{1,400}(?=@)",
}
_MAYBE = re.compile(
    "hf_|api_org_|sk-|AIza|gh[pousr]_|github_pat_|glpat-|pypi-|AKIA|ASIA|xox|eyJ|-----BEGIN|://"
)
"""In every text that has one of the kinds: most texts have none, and need no closer look."""
_FORMS = re.compile("|".join(f"({pattern})" for pattern in _KINDS.values()))


def find_secret(text: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return what kind of secret is in `text`, in words; None when there is none.

    Args:
        text: Anything.
        environ: Environment variables; None is this process's own.
    """
    for value, name in _values(environ).items():
        if value in text:
            return f"the value of {name}"
    found = _FORMS.search(text) if _MAYBE.search(text) else None
    return None if found is None else list(_KINDS)[(found.lastindex or 1) - 1]


def scrub(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return `text` with *** in the place of every secret; see `find_secret`."""
    return _masked(text, tuple(_values(environ)))


def scrubbed(value: Any, environ: Mapping[str, str] | None = None) -> Any:
    """Return what JSON can hold with every text in it scrubbed, keys too."""
    return _scrubbed(value, tuple(_values(environ)))


def named_like_a_secret(key: str) -> bool:
    """Whether a key such as `api_key` or `hub.token` asks for a secret; `pad_token` does not."""
    last = re.split(r"[./@]", key)[-1].replace("-", "_")
    return _SECRET_KEY.fullmatch(last) is not None and not _WORD_TOKEN.fullmatch(last)


def why_refused(where: str, kind: str | None = None) -> str:
    """Return the sentence about a secret at `where`; it does not have the secret.

    Args:
        where: Such as `adapter.r`.
        kind: As `find_secret` says it.
    """
    what = "" if kind is None else f" ({kind})"
    return (
        f"{scrub(where)} looks like a secret; put it into an environment variable such as "
        f"HF_TOKEN; it was not written anywhere{what}"
    )


def secrets_in(value: Any, where: str = "") -> Iterator[str]:
    """Say of every secret in a config why it is refused: its form, its origin, or its key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            path = f"{where}.{key}" if where else str(key)
            if (kind := find_secret(str(key))) is not None:
                yield why_refused(path, kind)
            elif named_like_a_secret(str(key)) and inner not in (None, "", "???", {}, []):
                yield why_refused(path)
            else:
                yield from secrets_in(inner, path)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from secrets_in(inner, f"{where}[{number}]")
    elif value is not None and (kind := find_secret(str(value))) is not None:
        yield why_refused(where, kind)


class _Scrubbing(logging.Formatter):
    """Formats as another formatter does, traceback included, and scrubs the result."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return scrub(self.inner.format(record))


def scrub_logging() -> None:
    """Let no handler that exists now write a secret; call it after logging was set up."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            inner = handler.formatter or logging.Formatter()
            if not isinstance(inner, _Scrubbing):
                handler.setFormatter(_Scrubbing(inner))


def trace_of(error: BaseException) -> str:
    """Return the traceback of a bug, as Python would print it, scrubbed."""
    return scrub("".join(traceback.format_exception(error)))


def _scrubbed(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _masked(value, secrets)
    if isinstance(value, Mapping):
        return {_scrubbed(key, secrets): _scrubbed(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(each, secrets) for each in value]
    return value


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return _FORMS.sub(_MASK, text) if _MAYBE.search(text) else text


def _values(environ: Mapping[str, str] | None) -> dict[str, str]:
    """Return the secret values of the environment with their names, the longest first."""
    known = os.environ if environ is None else environ
    found = {
        value: name
        for name, value in known.items()
        if len(value) >= _SHORTEST and _SECRET_VARIABLE.search(name)
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))

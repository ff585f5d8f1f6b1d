"""Where attacks are tried: a folder of their own, a canary, and a look at what they touched."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Ended, command_line, start, wait

__all__ = ["CANARY", "Attack", "Outcome", "attempt"]

CANARY = "CANARY"
_CONNECTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pty.spawn")
_CLEAN = (0, 2, 3, 4, 75)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """One attempt to run code, or to read or write what is not ours."""

    family: str
    name: str
    arguments: tuple[str, ...] = ()
    """After `python -m pipeline`; `{canary}` and `{here}` are filled in."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """What lies in the folder of the attack; texts are filled in as arguments are."""
    environment: Mapping[str, str] = field(default_factory=dict)
    act: Callable[[Path], object] | None = None
    """Done in place of the command line, with the folder of the attack."""
    prepare: Callable[[Path], object] | None = None
    """Makes what `files` cannot hold."""
    says: str = ""
    """What stderr must have in it."""
    secrets: tuple[str, ...] = ()
    """What must be in no file that is left and in nothing that is said."""
    code: int | None = None
    """The exit code that is right; None is any but that of a bug."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an attack."""

    attack: Attack
    ended: Ended
    escaped: tuple[str, ...]
    """What it should not have been able to do; empty is good."""


def attempt(attacks: Iterable[Attack], folder: Path, *, at_once: int = 3) -> list[Outcome]:
    """Try every attack in a fork, in a folder of its own below `folder`."""
    outcomes = []
    waiting: list[tuple[Attack, Path, Any, dict[str, bytes]]] = []
    for number, attack in enumerate(attacks):
        place = folder / f"{number:03}" / "here"
        place.mkdir(parents=True)
        _lay_out(attack, place)
        before = _contents(place.parent)
        child = start(_guarded(attack, place), cwd=place, environment=attack.environment)
        waiting.append((attack, place, child, before))
        if len(waiting) == at_once:
            outcomes.append(_finish(*waiting.pop(0)))
    return outcomes + [_finish(*each) for each in waiting]


def filled(text: str, place: Path) -> str:
    """Return `text` with the paths of an attack in it."""
    return text.replace("{canary}", str(place / CANARY)).replace("{here}", str(place))


def _lay_out(attack: Attack, place: Path) -> None:
    for name, content in attack.files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else filled(content, place).encode())
    if attack.prepare is not None:
        attack.prepare(place)


def _guarded(attack: Attack, place: Path) -> Callable[[], None]:
    def act() -> None:
        seen = os.open(place.parent / "seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _CONNECTS and not _is_local(arguments):
                os.write(seen, f"{event}\n".encode())
            if event in _STARTS and "git" not in str(arguments[:1]):
                os.write(seen, f"{event} {arguments[:2]}\n".encode())

        sys.addaudithook(look)
        sys.path[:] = [entry for entry in sys.path if entry]
        if attack.act is not None:
            attack.act(place)
            return
        sys.path.insert(0, str(place))  # as `python -m` does
        command_line(*(filled(each, place) for each in attack.arguments))()

    return act


def _is_local(arguments: tuple[Any, ...]) -> bool:
    """Whether a socket is one of this machine's own processes: an address that is a path."""
    return len(arguments) > 1 and isinstance(arguments[1], str | bytes)


def _finish(attack: Attack, place: Path, child: Any, before: dict[str, bytes]) -> Outcome:
    ended = wait(child, timeout=60)
    after = _contents(place.parent)
    escaped = []
    if (place / CANARY).exists():
        escaped.append("the canary is there")
    seen = after.pop("seen", b"").decode(errors="replace")
    escaped += [f"did {line}" for line in seen.splitlines()]
    changed = [
        name
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
        and not name.startswith("here/outputs/")
        and "__pycache__" not in name
    ]
    escaped += [f"changed {name}" for name in changed if name != f"here/{CANARY}"]
    right = _CLEAN if attack.code is None else (attack.code,)
    if ended.code not in right:
        escaped.append(f"exit {ended.code}: {ended.stderr[-300:]}")
    if "Traceback" in ended.stderr and attack.code != 1:
        escaped.append(f"a traceback: {ended.stderr[-300:]}")
    left = {name: content for name, content in after.items() if name not in before}
    left |= {"stderr": ended.stderr.encode(), "stdout": ended.stdout.encode()}
    escaped += [
        f"left {secret[:3]}... in {name}"
        for secret in attack.secrets
        for name, content in left.items()
        if secret.encode() in content or secret in name
    ]
    if attack.says and attack.says not in ended.stderr:
        escaped.append(f"did not say {attack.says!r} but {ended.stderr[-300:]!r}")
    return Outcome(attack=attack, ended=ended, escaped=tuple(escaped))


def _contents(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`; a link is what it points to."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*files, *(each for each in folders if Path(root, each).is_symlink())]:
            file = Path(root, name)
            said = str(file.relative_to(folder))
            found[said] = _target(file) if file.is_symlink() else file.read_bytes()
    return found


def _target(link: Path) -> bytes:
    return str(link.readlink()).encode()

"""Whether this Python and the installed packages are those that this version was made for."""

from __future__ import annotations

import platform
from importlib import metadata

from pipeline.errors import MachineError

__all__ = ["assert_requirements"]

_PROJECT = "graft-pipeline"


def assert_requirements() -> None:
    """Compare what is installed with what this project says it needs. Imports none of it.

    Nothing is compared where the project itself is not installed, such as in a bare checkout.

    Raises:
        MachineError: Python or a package is too old, too new or missing; a line each.
    """
    try:
        project = metadata.distribution(_PROJECT)
    except metadata.PackageNotFoundError:
        return
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    problems = []
    python, needed = platform.python_version(), project.metadata["Requires-Python"]
    if not SpecifierSet(needed).contains(python, prereleases=True):
        problems.append(f"python: needs Python {needed}, this is {python}")
    for line in project.requires or ():
        asked = Requirement(line)
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue  # of an extra
        said = f"{asked.name}: needs {asked.name} {asked.specifier}"
        todo = f"run: pip install '{asked.name}{asked.specifier}'"
        try:
            found = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{said}, which is not installed; {todo}")
        else:
            if not asked.specifier.contains(found, prereleases=True):
                problems.append(f"{said}, found {found}; {todo}")
    if problems:
        raise MachineError("\n".join(problems))

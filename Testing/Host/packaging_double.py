"""slicer.packaging: what would be installed is recorded; nothing is."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement


@dataclass(frozen=True)
class Request:
    """One call. function: its name; requirements: what was asked for; options: the other arguments."""

    function: str
    requirements: list[str]
    options: dict[str, Any]


class Packaging:
    """All calls so far (`requests`). on_ensure: called with a Request when packages are wanted; may raise."""

    def __init__(self):
        self.requests: list[Request] = []
        self.on_ensure: Callable[[Request], None] = lambda request: None

    def clear(self) -> None:
        """Forget all calls."""
        self.__init__()

    def decline(self) -> None:
        """Let the user decline: pip_ensure then raises the RuntimeError that Slicer's raises."""

        def refuse(request: Request) -> None:
            raise RuntimeError("User declined package installation")

        self.on_ensure = refuse


PACKAGING = Packaging()


FUNCTIONS = ("load_requirements", "pip_check", "pip_ensure", "pip_install", "pip_uninstall")
"""What the module offers."""


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a requirements.txt; lines of comments, options of pip and empty lines are left out.

    InvalidRequirement for all else, comments behind a requirement among it.
    """
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req) -> bool:
    """Whether all requirements are satisfied in this environment."""
    return all(_satisfied(requirement) for requirement in _requirements(req))


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
) -> list[str] | None:
    """Record those that are not satisfied as wanted, if there are any.

    Where Slicer runs with --testing nothing is wanted unless skip_in_testing is False.
    """
    options = {name: value for name, value in locals().items() if name != "requirements"}
    wanted = [str(requirement) for requirement in _requirements(requirements) if not _satisfied(requirement)]
    if not wanted or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    request = Request("pip_ensure", wanted, options)
    PACKAGING.requests.append(request)
    PACKAGING.on_ensure(request)
    return [] if skip_packages else None


def pip_install(requirements, **options) -> None:
    """Record that these packages are to be installed."""
    texts = [str(requirement) for requirement in _requirements(requirements)]
    PACKAGING.requests.append(Request("pip_install", texts, options))


def pip_uninstall(requirements, **options) -> None:
    """Record that these packages are to be removed."""
    texts = [str(requirement) for requirement in _requirements(requirements)]
    PACKAGING.requests.append(Request("pip_uninstall", texts, options))


def _requirements(given) -> list[Requirement]:
    if isinstance(given, (str, Requirement)):
        given = [given]
    return [entry if isinstance(entry, Requirement) else Requirement(entry) for entry in given]


def _satisfied(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        return False

"""Where the files that come with the package are."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resources_folder() -> Path:
    """The Resources folder: beside the package in the source tree and in an installed Slicer extension, inside the
    package in a wheel. FileNotFoundError if the installation is incomplete.
    """
    for parent in (PACKAGE.parent, PACKAGE):
        if (parent / "Resources" / "Models").is_dir():
            return parent / "Resources"
    raise FileNotFoundError(f"no Resources folder beside or in {PACKAGE}; install the package again")

"""The house: each floor imports only from the floors below it, and the core knows nothing of Slicer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "DinoUNetCore"

# What is not listed is a command, on the roof.
FLOORS = {
    "allocator": 0,
    "console": 0,
    "durations": 0,
    "errors": 0,
    "planning_options": 0,
    "resources": 0,
    "files": 1,
    "device": 1,
    "measurements": 2,
    "memory": 1,
    "slice_progress": 1,
    "command_line": 4,
    "volume": 2,
    "network": 2,
    "metrics": 3,
    "overlay": 3,
    "dataset": 3,
    "weights": 3,
    "training": 4,
    "inference": 4,
    "model_list": 4,
    "models_parser": 5,
    "segment_case": 5,
    "engine": 5,
    "crossval": 7,  # calls the command that trains
}
ROOF = 6

FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions and for type checkers too."""
    found = set()
    inside = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            # "from DinoUNetCore import files" imports a module as well
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == PACKAGE else {module}
    return found


def part_of(name: str) -> str | None:
    """"DinoUNetCore.volume.labels" -> "volume"; None for what is not ours."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == PACKAGE else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_from_floors_below(path):
    part = Path(path.relative_to(ROOT / PACKAGE).parts[0]).stem
    if part == "__init__":  # the public face names what lies on every floor
        return
    for name in imports(path):
        other = part_of(name)
        if other is not None and other != part:
            assert FLOORS.get(other, ROOF) < FLOORS.get(part, ROOF), f"{part} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_imports_slicer(path):
    assert not {name.partition(".")[0] for name in imports(path)} & {"slicer", "vtk", "qt", "ctk", "DinoUNetSlicer"}


@pytest.mark.parametrize("part", ["volume", "network"])
def test_the_ground_floor_stands_on_errors_and_files_alone(part):
    used = {part_of(name) for path in (ROOT / PACKAGE / part).glob("*.py") for name in imports(path)}
    assert used - {None, part} <= {"errors", "files"}


@pytest.mark.parametrize(
    "module",
    [
        PACKAGE,
        f"{PACKAGE}.worker",
        f"{PACKAGE}.engine.server",  # the first line and the first answers do not wait for torch
        f"{PACKAGE}.engine.protocol",  # in Slicer, too, where torch may be missing
        f"{PACKAGE}.inference.provenance",
        f"{PACKAGE}.weights.library",
        f"{PACKAGE}.weights.license",
        f"{PACKAGE}.weights.hub",
        f"{PACKAGE}.weights.inventory",
    ],
)
def test_what_has_to_start_at_once_loads_nothing_heavy(module):
    program = f"import sys, {module}; print(sorted({{'torch', 'timm', 'SimpleITK', 'numpy'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stderr

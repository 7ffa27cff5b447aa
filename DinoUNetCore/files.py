"""Atomic writes: a file is either there, whole, or not there at all."""

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from DinoUNetCore.errors import UserError

PARTIAL = ".partial-"
"""How the names of files begin that are being written."""

_ZEROS = bytes(1 << 20)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, with the same endings; it becomes `path` when the block succeeds.

    Libraries choose a file's format by its ending, so the temporary name keeps it. The folder is made if missing.
    If the block fails, nothing is left behind. OSErrors become a UserError that names `path`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(path.parent, f"-{path.name}")
        permissions = _permissions(temporary)
        yield temporary
        temporary.chmod(permissions)  # whatever the libraries have made of them
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {reason}; check the folder, its permissions and the free space."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def reserve(file: BinaryIO, size: int) -> None:
    """Claim `size` bytes behind what was written: on a disk that fills up later, a memory map ends the process."""
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), size)
    except (AttributeError, OSError) as error:  # not on this system, or not on this disk
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        for start in range(0, size, len(_ZEROS)):
            file.write(_ZEROS[: size - start])
        file.flush()


def give_usual_permissions(path: Path) -> None:
    """Let others read a file as the user's umask says; safetensors' are their owner's alone.

    A new file shows what that is. Asking for the umask would mean to set it, for a moment and for all threads.
    """
    new = _new_file(path.parent)
    try:
        path.chmod(_permissions(new))
    finally:
        new.unlink(missing_ok=True)


def _new_file(folder: Path, ending: str = "") -> Path:
    """An empty file with a name of its own, and the permissions that every program's new files have there."""
    path = folder / f"{PARTIAL}{secrets.token_hex(4)}{ending}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return path


def _permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def remove_partial(folder: Path) -> None:
    """Delete what a process that was killed was writing in `folder` and below."""
    for path in list(folder.rglob(f"{PARTIAL}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text atomically, with the same line ends on every system."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a UTF-8 JSON file; a missing or broken one is a UserError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}.") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}); correct it in a text editor."
        ) from error

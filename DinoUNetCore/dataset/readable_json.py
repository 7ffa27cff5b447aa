"""JSON that people read and edit: what fits into a line stands on one line, as does every list of plain values."""

import json
from pathlib import Path
from typing import Any

from DinoUNetCore.files import write_text

LINE = 110


def write_readable_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, readable_json(value) + "\n")


def readable_json(value: Any, indent: int = 0) -> str:
    """Format `value`; `indent` is the number of blanks before the line on which it starts."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (list, dict)) or _is_plain_list(value) or (indent > 0 and indent + len(line) <= LINE):
        return line
    if not value:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, list):
        parts = [inner + readable_json(item, indent + 2) for item in value]
        return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"
    parts = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {readable_json(value[key], indent + 2)}" for key in value]
    return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value)

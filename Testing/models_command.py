"""What the tests of `python -m DinoUNetCore.models` share."""

import json
import shutil
from pathlib import Path


def put_into_cache(tmp_path, name, complete=True) -> Path:
    """A backbone in the hub's cache, as its library would leave it."""
    place = tmp_path / "cache" / f"models--timm--{name}"
    for part in ("blobs", "refs", "snapshots/abc"):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text("abc", encoding="utf-8")
    (place / ("snapshots/abc/model.safetensors" if complete else "blobs/0.incomplete")).write_bytes(bytes(2_500_000))
    return place


def rename(bundle, name, target) -> Path:
    shutil.copytree(bundle, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps(config | {"name": name}), encoding="utf-8")
    return target


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def one_error(result, *parts):
    status, _, error = result
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1, result
    assert all(part in error for part in parts), error


# list

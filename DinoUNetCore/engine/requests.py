"""What a client can ask (see PROTOCOL.md), checked: from the fields of a frame to a request. Standard library only."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from DinoUNetCore.engine.refusals import Refusal
from DinoUNetCore.weights.hub import HUB_PREFIX

LARGEST_ID = (1 << 53) - 1
LARGEST_VOLUME = 16 << 30  # bytes of all images of a request, or of a bundle
LONGEST_SIDE = 1_000_000  # voxels
MOST_IMAGES, MOST_COMPONENTS = 64, 64
LONGEST_TEXT = 4096
LARGEST_LENGTH = 1e9  # mm; of coordinates and spacings
LARGEST_MEMORY = 1e6  # GB

_DTYPE = re.compile(r"[<>|]([iu][1248]|f[48])")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB = re.compile(HUB_PREFIX + r"[\w.-]+/[\w.-]+", re.ASCII)

PLANES = ("axial", "coronal", "sagittal")

Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Request:
    """id: by which its events name it. parts: how many bytes of data follow, one number per image (or zip).
    accept_license: whether the client's user has accepted the license of DINOv3's weights."""

    id: int
    accept_license: bool = field(default=False, kw_only=True)

    @property
    def parts(self) -> list[int]:
        return []


@dataclass(frozen=True)
class Hello(Request):
    pass


@dataclass(frozen=True)
class ListModels(Request):
    pass


@dataclass(frozen=True)
class AddModel(Request):
    """source: a folder or zip on this machine, or "hf:owner/name"."""

    source: str
    overwrite: bool


@dataclass(frozen=True)
class DownloadModel(Request):
    """repository: "owner/name" on the Hugging Face Hub."""

    repository: str


@dataclass(frozen=True)
class RemoveModel(Request):
    name: str


@dataclass(frozen=True)
class PutModel(Request):
    sha256: str
    total_bytes: int

    @property
    def parts(self) -> list[int]:
        return [self.total_bytes]


@dataclass(frozen=True)
class ImageHeader:
    """One image of a segment request, in the units and orders of PROTOCOL.md. transform: 16 numbers or None."""

    name: str
    dtype: str
    components: int
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    transform: tuple[float, ...] | None

    @property
    def nbytes(self) -> int:
        return math.prod(self.size) * self.components * int(self.dtype[2])


@dataclass(frozen=True)
class Options:
    """keep_largest: None leaves it to the model. planes: None are all that the model was trained on, in fast mode
    the first one of these. max_memory: GB of the GPU at most; None: all that is free."""

    device: str = "auto"
    precision: str = "auto"
    mirror: bool = False
    fast: bool = False
    keep_largest: bool | None = None
    batch_size: int | Literal["auto"] = "auto"
    threads: int | None = None
    planes: tuple[str, ...] | None = None
    max_memory: float | None = None


@dataclass(frozen=True)
class Segment(Request):
    """sha256 or name: the model's; the other one is None. region: I, J, K."""

    sha256: str | None
    name: str | None
    images: tuple[ImageHeader, ...]
    dimension: int
    region: Region | None
    options: Options

    @property
    def parts(self) -> list[int]:
        return [image.nbytes for image in self.images]


@dataclass(frozen=True)
class Sample(Request):
    """seed: which phantom."""

    seed: int


@dataclass(frozen=True)
class Cancel(Request):
    target: int


@dataclass(frozen=True)
class Unload(Request):
    pass


@dataclass(frozen=True)
class Shutdown(Request):
    pass


def parse_request(identity: int, fields: Mapping[str, Any]) -> Request:
    """The request in a frame's fields; unknown fields are ignored. Raises Refusal, mostly with `bad_request`."""
    kind = fields.get("request")
    simple = {"hello": Hello, "unload": Unload, "shutdown": Shutdown}
    if isinstance(kind, str) and kind in simple:
        return simple[kind](identity)
    if kind == "cancel":
        return Cancel(identity, _whole(fields, "target", 0, LARGEST_ID))
    if kind == "sample":
        return Sample(identity, _whole(fields, "seed", 0, LARGEST_ID))
    if kind in ("models", "segment"):
        request = (_models_request if kind == "models" else _segment_request)(identity, fields)
        return replace(request, accept_license=_flag(fields, "accept_license"))
    raise _senseless("it is of no known kind")


def _models_request(identity: int, fields: Mapping[str, Any]) -> Request:
    action = fields.get("action")
    if action == "list":
        return ListModels(identity)
    if action == "remove":
        return RemoveModel(identity, _text(fields, "name"))
    if action == "put":
        return PutModel(identity, _sha256(fields), _whole(fields, "total_bytes", 1, LARGEST_VOLUME))
    if action not in ("add", "fetch", "download"):
        raise _senseless("its action is not known")
    source = _text(fields, "source")
    if (action != "add") != bool(_HUB.fullmatch(source)):
        raise Refusal("bad_input", f"{source} is not what can be added so; give a folder or zip, or hf:owner/name.")
    if action == "download":
        return DownloadModel(identity, source.removeprefix(HUB_PREFIX))
    return AddModel(identity, source, _flag(fields, "overwrite"))


def _segment_request(identity: int, fields: Mapping[str, Any]) -> Segment:
    model = _mapping(fields, "model")
    sha256 = _sha256(model) if model.get("sha256") is not None else None
    name = _text(model, "name") if sha256 is None else None
    entries = fields.get("channels")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_IMAGES:
        raise _senseless(f"its channels are not a list of 1 to {MOST_IMAGES} images")
    images = tuple(_image(entry, number) for number, entry in enumerate(entries, start=1))
    if images[0].transform is not None:
        raise _senseless("its first image has a transform")
    if sum(image.nbytes for image in images) > LARGEST_VOLUME:
        raise Refusal("bad_input", f"{images[0].name} has more than 16 GiB of voxels; crop it, or make it coarser.")
    dimension = _whole(fields, "dimension", 2, 3)
    if dimension == 2 and any(image.size[2] != 1 for image in images):
        raise _senseless("it has a picture of more than one slice")
    return Segment(identity, sha256, name, images, dimension, _region(fields, images[0].size), _options(fields))


def _image(entry: Any, number: int) -> ImageHeader:
    if not isinstance(entry, Mapping):
        raise _senseless("one of its channels is no object")
    dtype = entry.get("dtype")
    match = _DTYPE.fullmatch(dtype) if isinstance(dtype, str) else None
    if match is None or (dtype[0] == "|" and match[1][1] != "1"):
        raise _senseless("the type of its voxels is not known")
    size = entry.get("size")
    if not _is_list(size, 3, lambda count: type(count) is int and 0 <= count <= LONGEST_SIDE):
        raise _senseless(f"an image's size is not three whole numbers up to {LONGEST_SIDE}")
    transform = None if entry.get("transform") is None else _numbers(entry, "transform", 16)
    if transform is not None and transform[12:] != (0, 0, 0, 1):
        raise _senseless("a transform's last row is not 0, 0, 0, 1")
    return ImageHeader(
        _text(entry, "name", "") or f"image {number}",
        dtype,
        _whole(entry, "components", 1, MOST_COMPONENTS),
        tuple(size),
        _numbers(entry, "spacing", 3),
        _numbers(entry, "origin", 3),
        _numbers(entry, "direction", 9),
        transform,
    )


def _region(fields: Mapping[str, Any], size: tuple[int, int, int]) -> Region | None:
    region = fields.get("region")
    if region is None:
        return None
    if not _is_list(region, 3, lambda pair: _is_list(pair, 2, lambda index: type(index) is int)) or not all(
        0 <= start < stop <= count for (start, stop), count in zip(region, size, strict=True)
    ):
        raise _senseless("its region is not a box of the first image's voxels")
    return tuple((start, stop) for start, stop in region)


def _options(fields: Mapping[str, Any]) -> Options:
    options = {} if fields.get("options") is None else _mapping(fields, "options")
    batch_size, threads = options.get("batch_size", "auto"), options.get("threads")
    return Options(
        _text(options, "device", "auto"),
        _text(options, "precision", "auto"),
        _flag(options, "mirror"),
        _flag(options, "fast"),
        None if options.get("keep_largest") is None else _flag(options, "keep_largest"),
        "auto" if batch_size == "auto" else _whole(options, "batch_size", 1, 4096),
        None if threads is None else _whole(options, "threads", 1, 1024),
        _planes(options),
        _max_memory(options),
    )


def _planes(options: Mapping[str, Any]) -> tuple[str, ...] | None:
    planes = options.get("planes")
    if planes is None:
        return None
    if not isinstance(planes, list) or not 1 <= len(planes) <= len(PLANES) or not all(p in PLANES for p in planes):
        raise _senseless(f"its planes are no list of {', '.join(PLANES)}")
    return tuple(planes)


def _max_memory(options: Mapping[str, Any]) -> float | None:
    most = options.get("max_memory")
    if most is None:
        return None
    if type(most) not in (int, float) or not 0 < most <= LARGEST_MEMORY:
        raise _senseless(f"its max_memory is no number of GB above 0, up to {LARGEST_MEMORY:g}")
    return float(most)


def _senseless(why: str) -> Refusal:
    return Refusal("bad_request", f"the request cannot be used: {why}.")


def _is_list(value: Any, length: int, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(is_item, value))


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(fields.get(name), Mapping):
        raise _senseless(f"its {name} is no object")
    return fields[name]


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value or (default is None and not value):
        raise _senseless(f"its {name} is no text of at most {LONGEST_TEXT} characters")
    return value


def _sha256(fields: Mapping[str, Any]) -> str:
    value = fields.get("sha256")
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _senseless("its sha256 is not 64 hexadecimal digits in lower case")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if type(value) is not bool:
        raise _senseless(f"its {name} is neither true nor false")
    return value


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise _senseless(f"its {name} is not a whole number from {least} to {most}")
    return value


def _numbers(fields: Mapping[str, Any], name: str, count: int) -> tuple[float, ...]:
    values = fields.get(name)
    if not _is_list(values, count, lambda value: type(value) in (int, float) and abs(value) <= LARGEST_LENGTH):
        raise _senseless(f"its {name} is not {count} numbers up to {LARGEST_LENGTH:g}")
    return tuple(map(float, values))

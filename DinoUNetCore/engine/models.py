"""The models that the engine has: embedded, in the library, and put by the client; the last ones used stay ready."""

import gc
import io
import json
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from DinoUNetCore.allocator import give_freed_memory_back
from DinoUNetCore.engine.progress import Loading
from DinoUNetCore.engine.refusals import Refusal
from DinoUNetCore.engine.requests import LARGEST_VOLUME
from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import hub, library
from DinoUNetCore.weights.bundle_files import CONFIG, LARGEST_CONFIG, check_config, digest, reading_problems

if TYPE_CHECKING:
    import torch

    from DinoUNetCore.network.dino_unet import DinoUNet
    from DinoUNetCore.weights.bundle import ModelBundle

MOST_PUT, MOST_READY = 2, 2

Key = tuple[str, str, str]
"""A network that is ready: SHA-256 of its bundle, device, and dtype of its matrices."""


class Models:
    """Models are known by the SHA-256 of their config.json. Only what needs a network imports torch."""

    def __init__(self):
        self._put: OrderedDict[str, ModelBundle] = OrderedDict()
        self._ready: OrderedDict[Key, tuple[ModelBundle, DinoUNet]] = OrderedDict()

    def listed(self) -> bytes:
        """All entries as the protocol's JSON."""
        entries = [_entry_json(entry) for entry in library.list_entries()]
        entries += [_put_json(sha256, bundle) for sha256, bundle in self._put.items()]
        return json.dumps({"models": entries}, ensure_ascii=False).encode("utf-8", "replace")

    def add(self, source: str, overwrite: bool, loading: Loading) -> dict[str, Any]:
        """Copy a bundle of this machine, or of the Hugging Face Hub, into the library; returns its entry."""
        if source.startswith(hub.HUB_PREFIX):
            source = hub.fetch_bundle(source.removeprefix(hub.HUB_PREFIX), loading.downloaded)
        return _entry_json(library.add(source, overwrite))

    def download(self, repository: str, loading: Loading) -> bytes:
        """A bundle of the Hugging Face Hub as one zip, for the client's own library."""
        folder = hub.fetch_bundle(repository, loading.downloaded)
        if sum(path.stat().st_size for path in folder.iterdir()) > LARGEST_VOLUME:
            source = f"{hub.HUB_PREFIX}{repository}"
            raise UserError(f"{source} has more than 16 GiB, too much to send; download and add it by hand.")
        return library.pack(folder)

    def remove(self, name: str) -> None:
        """Delete a model of the library."""
        library.remove(name)

    def put(self, sha256: str, archive: bytes) -> dict[str, Any]:
        """Keep a bundle that came as a zip; returns its entry. UserError if it is damaged or not the one announced."""
        from DinoUNetCore.weights.bundle_reading import unpack_bundle

        name = f"the model that was sent (SHA-256 {sha256[:12]}...)"
        with reading_problems(name), zipfile.ZipFile(io.BytesIO(archive)) as file:
            size = sum(info.file_size for info in file.infolist())
            with file.open(CONFIG) as entry:
                config = entry.read(LARGEST_CONFIG + 1)
        if size > LARGEST_VOLUME:
            raise UserError(f"{name} is larger than an engine takes; add it to the engine's own library.")
        check_config(name, config)
        if digest(config) != sha256:
            raise UserError(f"{name} is another one: its {CONFIG} has the SHA-256 {digest(config)}; send it again.")
        bundle = self._put[sha256] = unpack_bundle(archive, name)
        self._put.move_to_end(sha256)
        if len(self._put) > MOST_PUT:
            self._put.popitem(last=False)
        return _put_json(sha256, bundle)

    def find(self, sha256: str | None, name: str | None) -> str:
        """The SHA-256 of the model that is asked for by one of the two. Refusal if the engine does not have it."""
        if sha256 in self._put or any(sha256 == ready for ready, *_ in self._ready):
            return sha256
        entry = next((e for e in library.list_entries() if (e.sha256 if sha256 else e.name) == (sha256 or name)), None)
        if entry is None:
            wanted = name or f"with the SHA-256 {sha256}"
            raise Refusal("unknown_model", f"the engine has no model {wanted}; choose another one, or send it.")
        if entry.problem:
            raise UserError(entry.problem)
        return entry.sha256

    def is_ready(self, sha256: str, device: "torch.device", precision: str) -> bool:
        """Whether the network need not be loaded first."""
        return _key(sha256, device, precision) in self._ready

    def network(
        self, sha256: str, device: "torch.device", precision: str, loading: Loading
    ) -> tuple["ModelBundle", "DinoUNet"]:
        """The network on the device, and its bundle without tensors. OutOfMemory if the device cannot hold it.

        A public backbone that this machine lacks is downloaded; LicenseNotAccepted if its license is in the way.
        """
        key = _key(sha256, device, precision)
        if key not in self._ready:
            self._ready[key] = self._build(sha256, device, precision, loading)
        self._ready.move_to_end(key)
        if sha256 in self._put:
            self._put.move_to_end(sha256)
        return self._ready[key]

    def unload(self) -> None:
        """Forget what was put and what is ready, and give the devices' memory back."""
        self._put.clear()
        self.release()

    def release(self) -> None:
        """Give up the networks that are ready, and the devices' memory with them."""
        self._ready.clear()
        gc.collect()
        give_freed_memory_back()
        torch = sys.modules.get("torch")  # whoever has used it has imported it
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch is not None and torch.backends.mps.is_available():
            torch.mps.empty_cache()

    def _build(
        self, sha256: str, device: "torch.device", precision: str, loading: Loading
    ) -> tuple["ModelBundle", "DinoUNet"]:
        from DinoUNetCore.memory import OutOfMemory

        while len(self._ready) >= MOST_READY:  # before the new one needs the memory
            self._ready.popitem(last=False)
        bundle = self._put.get(sha256) or _load(sha256)
        network = _network(bundle, device, precision, loading)
        if network is None and self._ready:
            self.release()
            network = _network(bundle, device, precision, loading)
        if network is None:
            raise OutOfMemory(f"{bundle.name} needs more memory than {device} has free; close other programs.", device)
        return replace(bundle, tensors={}), network


def _key(sha256: str, device: "torch.device", precision: str) -> Key:
    from DinoUNetCore.device import matrix_dtype

    return sha256, str(device), str(matrix_dtype(precision, device))


def _network(bundle: "ModelBundle", device: "torch.device", precision: str, loading: Loading) -> "DinoUNet | None":
    """The bundle's network, or None if the device has too little memory."""
    from DinoUNetCore.device import matrix_dtype
    from DinoUNetCore.inference.rewriting import for_inference
    from DinoUNetCore.memory import is_out_of_memory

    dtype = matrix_dtype(precision, device)
    try:
        network = bundle.build_network(device, dtype, progress=loading.downloaded, say=loading.say)
        return for_inference(network, device, loading.say)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _load(sha256: str) -> "ModelBundle":
    from DinoUNetCore.weights.bundle_reading import load_bundle

    entry = next((entry for entry in library.list_entries() if entry.sha256 == sha256), None)
    if entry is None:
        raise Refusal("unknown_model", f"the engine has no model with the SHA-256 {sha256} any more; send it again.")
    return load_bundle(entry.path)


def _entry_json(entry: library.Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "sha256": entry.sha256 or None,
        "source": entry.source,
        "config": entry.config or None,
        "path": str(entry.path),
        "problem": entry.problem,
    }


def _put_json(sha256: str, bundle: "ModelBundle") -> dict[str, Any]:
    named = {"name": bundle.name, "sha256": sha256, "source": "put"}
    return {**named, "config": bundle.config, "path": None, "problem": None}

"""Downloads into the cache of the Hugging Face Hub's library that survive cuts and are checked by their SHA-256.

The library keeps nothing of a file whose download broke off, and checks its size only. Weights are large: they are put
into its cache by us, go on where they stopped (in the next process, too), and are what the hub says they are, or are
thrown away. All else (small files, links) is the library's own work.
"""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import write_text
from DinoUNetCore.weights.bundle_files import stream_sha256
from DinoUNetCore.weights.hub_errors import DamagedDownload, NotAHub, disk_full, is_disk_full

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and those that will be."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. sha256: None for small ones, which git keeps."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    repository: str
    commit: str
    files: list[RemoteFile]

    def select(self, is_wanted: Callable[[str], bool]) -> list[RemoteFile]:
        """The files whose names are wanted."""
        return [file for file in self.files if is_wanted(file.name)]


def list_repository(repository: str) -> Listing:
    """What the hub has under "owner/name".

    Raises what the hub's library does; NotAHub if the answer makes no sense; UserError if a file would be written
    outside of the cache's folder.
    """
    from huggingface_hub import HfApi, constants

    try:
        info = HfApi().model_info(repository, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        files = [
            RemoteFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else None)
            for entry in info.siblings or []
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise NotAHub(f"no list of files: {error!r}") from error
    if not _COMMIT.fullmatch(info.sha or ""):
        raise NotAHub(f"{info.sha} is no commit")
    for file in files:
        path = PureWindowsPath(file.name)  # which knows what leads outside on other systems, too
        if path.anchor or ".." in path.parts:
            raise UserError(f"{repository} is not downloaded: its file {file.name} lies outside of it; tell its owner.")
    return Listing(repository, info.sha, files)


def download(listing: Listing, files: list[RemoteFile], progress: Progress | None) -> Path:
    """Bring the files into the hub's cache; returns the snapshot's folder there.

    progress: if None, a bar is drawn on standard error, if that is a terminal.
    """
    from huggingface_hub import hf_hub_download

    total, done = sum(file.size for file in files), 0
    with _drawn(listing.repository) if progress is None else nullcontext(progress) as report, _no_other_bars():
        for file in files:
            if file.sha256 is not None:
                if cached_file(listing.repository, file.name, listing.commit) is None:
                    _fetch_large(listing, file, _shifted(report, done, total))
                done += file.size
            hf_hub_download(listing.repository, file.name, revision=listing.commit)
        report(total, total)
    folder = repository_folder(listing.repository)
    _note_newest(folder, listing.commit)
    return folder / "snapshots" / listing.commit


def read_small_file(listing: Listing, name: str) -> bytes:
    """The content of a file such as config.json, by way of the hub's cache."""
    from huggingface_hub import hf_hub_download

    with _no_other_bars():
        return Path(hf_hub_download(listing.repository, name, revision=listing.commit)).read_bytes()


def cached_file(repository: str, name: str, commit: str | None = None) -> Path | None:
    """A file in the hub's cache, at the newest commit that it knows if none is named; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, name, revision=commit)
    except HFValidationError:  # no name that a repository can have
        return None
    return Path(path) if isinstance(path, str) else None


def repository_folder(repository: str) -> Path:
    """Where the hub's cache has a repository, if it has."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _note_newest(folder: Path, commit: str) -> None:
    """Record, as the library would, which commit of a repository is used when none is named: one that is whole."""
    record = folder / "refs" / "main"
    if not record.is_file() or record.read_text(encoding="utf-8") != commit:  # shared caches may be read-only
        write_text(record, commit)


def _fetch_large(listing: Listing, file: RemoteFile, report: Callable[[int], None]) -> None:
    """Download one large file to where the hub's library will find it, going on where an earlier call stopped."""
    from huggingface_hub.file_download import are_symlinks_supported
    from huggingface_hub.utils import WeakFileLock

    if not _SHA256.fullmatch(file.sha256):
        raise DamagedDownload(f"{file.name} has no proper SHA-256")
    folder = repository_folder(listing.repository)
    snapshot = folder / "snapshots" / listing.commit / file.name
    blob, partial = folder / "blobs" / file.sha256, folder / "blobs" / f"{file.sha256}.incomplete"
    lock = folder.parent / ".locks" / folder.name / f"{file.sha256}.lock"  # the library's own
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() or snapshot.exists():  # another process was faster
            return
        there = partial.stat().st_size if partial.exists() else 0
        if there > file.size:
            partial.unlink()
            there = 0
        if shutil.disk_usage(folder).free < file.size - there:
            raise disk_full(folder.parent, file.size - there)
        try:
            with _ReportingFile(partial, report) as target:
                _receive(listing, file, target)
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(folder.parent, file.size - partial.stat().st_size) from error
            raise
        with partial.open("rb") as received:
            is_sound = partial.stat().st_size == file.size and stream_sha256(received) == file.sha256
        if not is_sound:
            partial.unlink()
            raise DamagedDownload(f"{file.name} is not what the hub announced")
        # the snapshot links to it; where there are no links (Windows), it lies there itself, not twice
        target = blob if are_symlinks_supported(folder.parent) else snapshot
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)


def _receive(listing: Listing, file: RemoteFile, target: io.FileIO) -> None:
    """Write what is missing of a file. Versions of the library below 1.0 give up at the first cut: we go on with them,
    as long as something arrives."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    while True:
        before = target.tell()
        try:
            return http_get(
                hf_hub_url(listing.repository, file.name, revision=listing.commit),
                target,
                resume_size=before,
                headers={**build_hf_headers(), "Accept-Encoding": "identity"},  # parts of what is packed are no parts
                expected_size=file.size,
                displayed_filename=f"{listing.repository.rpartition('/')[2]}/{file.name}",
            )
        except OSError as error:
            is_cut = error.errno is None and not isinstance(error, HfHubHTTPError)
            if not (is_cut and before < target.tell() < file.size):
                raise


class _ReportingFile(io.FileIO):
    """A file to be continued, unbuffered: what has arrived is kept whatever ends the process."""

    def __init__(self, path: Path, report: Callable[[int], None]):
        path.touch()
        super().__init__(path, "r+")
        self._report = report
        report(self.seek(0, io.SEEK_END))

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # one call may write less than all: at the end of the disk, or of 2 GB
            rest = rest[super().write(rest) :]
        self._report(self.tell())
        return len(data)


def _shifted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda count: progress(before + count, total)


@contextmanager
def _drawn(repository: str) -> Iterator[Progress]:
    """A bar on the terminal, unless the user has switched off those of the hub's library."""
    from huggingface_hub.utils import are_progress_bars_disabled
    from tqdm import tqdm

    disable = True if are_progress_bars_disabled() else None  # None: unless there is a terminal
    with tqdm(desc=repository.rpartition("/")[2], unit="B", unit_scale=True, disable=disable) as bar:

        def progress(done: int, total: int) -> None:
            if bar.total is None:  # what an earlier run has left says nothing about the speed
                bar.total, bar.initial, bar.n = total, done, done
            bar.update(done - bar.n)

        yield progress


@contextmanager
def _no_other_bars() -> Iterator[None]:
    """The hub's library draws no bars: progress is told by us."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()

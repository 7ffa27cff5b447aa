"""The Hugging Face Hub: public DINOv3 backbones from timm's repositories, and bundles from and to anybody's.

All lies in the cache of the hub's library, and its environment variables count (HF_HOME, HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE, ...). That library is imported when it is needed only: it takes a while. No torch.
"""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import license
from DinoUNetCore.weights.backbone_folder import INDEX
from DinoUNetCore.weights.bundle_files import (
    BACKBONE,
    CARD,
    CONFIG,
    CURVES,
    WEIGHTS,
    check_config,
    check_weights,
    opened,
    stream_sha256,
)
from DinoUNetCore.weights.hub_download import (
    Progress,
    cached_file,
    download,
    list_repository,
    read_small_file,
    repository_folder,
)
from DinoUNetCore.weights.hub_errors import LOGIN, explained
from DinoUNetCore.weights.license_files import is_license, licenses_in, stores_dinov3

HUB_PREFIX = "hf:"
"""How the names of the hub's bundles begin: "hf:owner/name"."""

_SHARD = re.compile(r"model-[\w.-]+\.safetensors", re.ASCII)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_OWNER = "timm"
_OR_A_FILE = "or name a file that you have by --backbone FILE"
_OR_A_BUNDLE = "or use the folder or zip of a bundle that you have"


@dataclass(frozen=True)
class Cached:
    """A public backbone in the hub's cache. path: of its files, if `complete`. size: in bytes, on the disk."""

    name: str
    path: Path
    size: int
    complete: bool


def cached_backbone(timm_model: str) -> Path | None:
    """The folder in the hub's cache with all weights of a backbone; None if there is none. Never asks the network."""
    for name in (WEIGHTS, INDEX):
        path = cached_file(f"{_OWNER}/{timm_model}", name)
        if path is not None and (name == WEIGHTS or _has_all_shards(path)):
            return path.parent
    return None


def fetch_backbone(timm_model: str | None, progress: Progress | None = None) -> Path:
    """The folder with the weights of a public backbone: model.safetensors, or its shards and their index.

    They come from the hub's cache, else by a download that goes on where an earlier one broke off. progress: called
    with the bytes that are there and those that will be; if None, a bar is drawn on the terminal.
    LicenseNotAccepted before a download; UserError if the weights cannot be had.
    """
    if timm_model is None:
        raise UserError("this variant has no public backbone weights; train it from random ones (--backbone random).")
    if (cached := cached_backbone(timm_model)) is not None:
        return cached
    license.require(f"the backbone {timm_model}")
    repository = f"{_OWNER}/{timm_model}"
    with explained(f"the backbone {repository} cannot be downloaded", repository, _OR_A_FILE):
        listing = list_repository(repository)
        files = listing.select(_is_of_backbone)
        if WEIGHTS in {file.name for file in files}:  # then the shards would be the same once more
            files = [file for file in files if not _SHARD.fullmatch(file.name) and file.name != INDEX]
        elif INDEX not in {file.name for file in files}:
            raise UserError(f"{repository} has no weights as {WEIGHTS}; check the backbone's name, {_OR_A_FILE}.")
        return download(listing, files, progress)


def fetch_bundle(repository: str, progress: Progress | None = None) -> Path:
    """Bring a bundle of the hub ("owner/name") into the hub's cache and up to date; returns its folder there.

    Without a connection it is the one that was fetched before. progress: as in `fetch_backbone`. LicenseNotAccepted
    before DINOv3 weights in it are downloaded; UserError if it is no bundle or cannot be had.
    """
    source = _named(repository)
    with explained(f"the bundle {source} cannot be downloaded", repository, _OR_A_BUNDLE):
        try:
            listing = list_repository(repository)
        except Exception:
            if (cached := _cached_bundle(repository)) is None:
                raise
            return cached
        names = {file.name for file in listing.files}
        for needed in (CONFIG, WEIGHTS):
            if needed not in names:
                raise UserError(f"{source} is not a model bundle: it has no {needed}; check the name.")
        config = check_config(source, read_small_file(listing, CONFIG))
        if any(name.startswith(f"{BACKBONE}/") for name in names) or stores_dinov3(config):
            license.require(f"a DINOv3 backbone, which {source} holds,")
        return download(listing, listing.select(_is_of_bundle), progress)


def push_bundle(folder: Path, repository: str, private: bool = False) -> str:
    """Make the bundle in `folder` the content of a repository of the hub ("owner/name"); returns its URL.

    A backbone in its sub-folder stays here: who fetches the bundle gets it from its own repository. The repository is
    made if there is none (`private` counts then). Files of an older bundle that this one lacks are removed from it, all
    others stay. UserError if the bundle may not be passed on, is damaged, or cannot be pushed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    target = _named(repository)
    names, config = _bundle_in(folder)
    what = f"the bundle {config['name']} cannot be pushed to {target}"
    dinov3 = stores_dinov3(config)
    if dinov3 and not licenses_in(folder):
        raise UserError(
            f"{what}: it holds DINOv3 weights and no LICENSE file of theirs, which has to go with them; put the "
            f"{license.NAME} ({license.URL}) into {folder} as LICENSE.md."
        )
    if get_token() is None:
        raise UserError(f"{what}: you are not logged in; {LOGIN}.")
    card = _card(folder, config, dinov3)
    with explained(what, repository, "or pass its folder or zip on in another way"):
        api = HfApi()
        try:
            there = [file.name for file in list_repository(repository).select(_is_of_bundle)]
        except RepositoryNotFoundError:
            api.create_repo(repository, private=private, exist_ok=True)
            there = []
        api.create_commit(
            repository,
            [
                CommitOperationAdd(CARD, card.encode("utf-8")),
                *(CommitOperationAdd(name, folder / name) for name in names if name != CARD),
                *(CommitOperationDelete(name) for name in there if name not in {CARD, *names}),
            ],
            commit_message=f"Dino U-Net bundle {config['name']}",
        )
    return f"{constants.ENDPOINT}/{repository}"


def cached_backbones() -> list[Cached]:
    """The public DINOv3 backbones in the hub's cache, also those whose download broke off."""
    from huggingface_hub import constants

    folders = sorted(Path(constants.HF_HUB_CACHE).glob(f"models--{_OWNER}--*dinov3*"))
    return [_cached(folder) for folder in folders if folder.is_dir()]


def remove_cached(name: str) -> int:
    """Delete a backbone of `cached_backbones` from the hub's cache; returns how many bytes that freed.

    UserError if there is none of that name, or it cannot be deleted.
    """
    from huggingface_hub import constants, scan_cache_dir

    found = next((cached for cached in cached_backbones() if cached.name == name), None)
    if found is None:
        raise UserError(f"the backbone {name} is not in the hub's cache {constants.HF_HUB_CACHE}; check the name.")
    folder = repository_folder(f"{_OWNER}/{name}")
    cache = scan_cache_dir()  # the library knows which files other repositories share
    repos = frozenset(repo for repo in cache.repos if repo.repo_path == folder)
    revisions = [one.commit_hash for repo in repos for one in repo.revisions]
    replace(cache, repos=repos).delete_revisions(*revisions).execute()  # copies of a repository have its commits
    shutil.rmtree(folder, ignore_errors=True)  # of broken downloads the library knows nothing
    if folder.exists():
        raise UserError(f"cannot delete {folder} entirely; close what uses it and check its permissions.")
    return found.size


def _named(repository: str) -> str:
    """How users write a repository. UserError if it is not "owner/name"."""
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"{HUB_PREFIX}{repository} names no repository; write it as {HUB_PREFIX}owner/name.")
    return f"{HUB_PREFIX}{repository}"


def _is_of_backbone(name: str) -> bool:
    return name in (WEIGHTS, INDEX, CONFIG) or is_license(name) or _SHARD.fullmatch(name) is not None


def _is_of_bundle(name: str) -> bool:
    """Whether a file of a repository belongs to the bundle in it."""
    folder, _, plain = name.rpartition("/")
    return folder == BACKBONE or (not folder and (plain in (CONFIG, WEIGHTS, CARD, CURVES) or is_license(plain)))


def _cached(folder: Path) -> Cached:
    name = folder.name.rpartition("--")[2]
    stored = [path for path in folder.rglob("*") if path.is_file() and not _is_link_into_blobs(path)]
    complete = cached_backbone(name)
    return Cached(name, complete or folder, sum(path.stat().st_size for path in stored), complete is not None)


def _is_link_into_blobs(path: Path) -> bool:
    return path.is_symlink() and path.parent.name != "blobs"


def _has_all_shards(index: Path) -> bool:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((index.parent / name).is_file() for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # a damaged index is fetched again


def _cached_bundle(repository: str) -> Path | None:
    """The folder of a bundle that was fetched before."""
    found = [cached_file(repository, name) for name in (CONFIG, WEIGHTS)]
    return found[0].parent if None not in found else None


def _bundle_in(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The names of the files of a bundle that are pushed, and its config. UserError if it is damaged."""
    with opened(folder) as files:
        config = check_config(folder, files.read(CONFIG))
        with files.open(WEIGHTS) as weights:
            check_weights(folder, stream_sha256(weights), config)
        return files.names, config


def _card(folder: Path, config: dict[str, Any], dinov3: bool) -> str:
    """The bundle's model card; if it holds DINOv3 weights, with their license in the part that the hub reads."""
    from huggingface_hub import ModelCard

    path = folder / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {config['name']}\n"
    if not dinov3:
        return text
    card = ModelCard(text, ignore_metadata_errors=True)
    card.data.license, card.data.license_name, card.data.license_link = "other", "dinov3-license", license.URL
    return str(card)

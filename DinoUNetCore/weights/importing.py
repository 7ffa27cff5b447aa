"""Bundles and backbone weights, in whatever form a user has them, into the library."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store
from DinoUNetCore.weights.backbone_folder import RECORD, check_folder
from DinoUNetCore.weights.backbone_store import StoredBackbone
from DinoUNetCore.weights.bundle_files import copy_out, opened
from DinoUNetCore.weights.models_folder import models_folder, workshop
from DinoUNetCore.weights.timm_names import variant_of

if TYPE_CHECKING:
    from DinoUNetCore.weights.backbone_weights import BackboneWeights


def import_backbone(path: Path, timm_model: str | None = None) -> StoredBackbone:
    """Bring backbone weights (a file or folder of any public form) into the store of backbones.

    timm_model: which of timm's weights they are. If it is not given, a backbone folder's own record tells; other files
    do not, and their weights are found by their SHA-256 only.

    UserError, and the store is as it was: no or damaged weights, weights that no variant has or of another variant than
    they are said to be, no space.
    """
    from DinoUNetCore.weights.backbone_weights import save_backbone

    weights = _weights_in(path)
    variant = weights.variant()  # what fits no variant is told before it is copied
    if timm_model is None and (path / RECORD).is_file():
        timm_model = check_folder(path).timm_model
    elif timm_model is not None and variant_of(timm_model) != variant:
        raise UserError(f"{path} holds weights of the variant {variant}, which {timm_model} is not; check the name.")
    try:
        with workshop() as temporary:
            save_backbone(weights, temporary / "backbone", timm_model)
            stored = backbone_store.put(temporary / "backbone")
    except OSError as error:
        raise UserError(
            f"cannot write the backbone of {path} into {backbone_store.store_folder()}: {error.strerror or error}; "
            "check the folder, its permissions and the free space."
        ) from error
    if timm_model not in (None, stored.timm_model):
        raise UserError(
            f"the library has the weights of {path} as {stored.timm_model} already; if that is wrong, remove them "
            f"(SHA-256 {stored.sha256[:12]}) and import them again."
        )
    return stored


def _weights_in(path: Path) -> "BackboneWeights":
    from DinoUNetCore.weights.backbone_weights import BackboneWeights
    from DinoUNetCore.weights.official_checkpoint import is_official_checkpoint

    try:
        return BackboneWeights(path)
    except UserError as error:
        if is_official_checkpoint(path):
            raise UserError(
                f"{path} is a whole network, trained with the authors' code; make a model of it by `import-official "
                f"{path.name} --plans plans.json --dataset dataset.json`."
            ) from error
        raise


@contextmanager
def as_folder(bundle: Path) -> Iterator[Path]:
    """A bundle as a folder: itself, or a temporary one with the files of the zip, without a backbone that it names.

    UserError if it is none, or no folder can be made.
    """
    with opened(bundle) as files:
        if files.archive is None:
            yield bundle
            return
        with workshop() as temporary:
            try:
                for name in files.names:
                    with files.open(name) as file:
                        copy_out(file, temporary / name)
            except OSError as error:
                raise UserError(
                    f"cannot unpack {bundle} into {models_folder()}: {error.strerror or error}; check the folder, its "
                    "permissions and the free space."
                ) from error
            yield temporary

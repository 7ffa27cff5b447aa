"""Bundles and backbone weights, in whatever form a user has them, into the library."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store
from DinoUNetCore.weights.backbone_store import StoredBackbone
from DinoUNetCore.weights.bundle_files import copy_out, opened, reading_problems
from DinoUNetCore.weights.models_folder import workshop


def import_backbone(path: Path) -> StoredBackbone:
    """Bring backbone weights (a file or folder of any public form) into the store of backbones.

    UserError, and the store is as it was: no or damaged weights, weights that no variant has, no space.
    """
    from DinoUNetCore.weights.backbone_weights import BackboneWeights, save_backbone

    weights = BackboneWeights(path)
    weights.variant()  # what fits no variant is told before it is copied
    try:
        with workshop() as temporary:
            save_backbone(weights, temporary / "backbone")
            return backbone_store.put(temporary / "backbone")
    except OSError as error:
        raise UserError(
            f"cannot write the backbone of {path} into {backbone_store.store_folder()}: {error.strerror or error}; "
            "check the folder, its permissions and the free space."
        ) from error


@contextmanager
def as_folder(bundle: Path) -> Iterator[Path]:
    """A bundle as a folder: itself, or a temporary one with the files of the zip. UserError if it is none."""
    with reading_problems(bundle), opened(bundle) as files:
        if files.archive is None:
            yield bundle
            return
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            for name in files.names:
                with files.open(name) as file:
                    copy_out(file, Path(temporary) / name)
            yield Path(temporary)

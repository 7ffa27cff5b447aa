"""The models and DINOv3 backbones on this computer: python -m DinoUNetCore.models list|fetch|import|export|remove|...

The models are those of the folder that 3D Slicer uses too. What can do without torch does not load it.
"""

import json
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DinoUNetCore.command_line import run, with_license
from DinoUNetCore.errors import UserError
from DinoUNetCore.models_parser import parse

if TYPE_CHECKING:  # all else is imported by what needs it: within `run`, where Ctrl-C is told in one line
    from DinoUNetCore.weights.backbone_weights import BackboneWeights
    from DinoUNetCore.weights.library import Entry

WIDTH = 120  # columns, where the output is no terminal


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = parse(arguments)
    ACTIONS[options.command](options)


def list_all(options: Namespace) -> None:
    """Print the inventory."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from DinoUNetCore.model_list import as_json, as_text
    from DinoUNetCore.weights.inventory import take_inventory
    from DinoUNetCore.weights.models_folder import models_folder

    inventory, places = take_inventory(), (models_folder(), Path(HF_HUB_CACHE))
    if options.json:
        _say(json.dumps(as_json(inventory, *places), indent=2, ensure_ascii=False))
    else:
        _say(as_text(inventory, *places, width=shutil.get_terminal_size((WIDTH, 24)).columns))


def fetch(options: Namespace) -> None:
    """Download backbones into the hub's cache, and bundles, with the backbones that they name, into the library."""
    from DinoUNetCore.weights.hub import HUB_PREFIX

    backbones = {name: _timm_name(name) for name in options.names if not name.startswith(HUB_PREFIX)}
    for name in options.names:
        if name in backbones:
            _fetch_backbone(backbones[name], options)
        else:
            _fetch_model(name.removeprefix(HUB_PREFIX), options)


def _timm_name(text: str) -> str:
    """Timm's name of weights, which may be named by their variant. UserError if there are none of that name."""
    from DinoUNetCore.weights.timm_names import PUBLIC_WEIGHTS, is_timm_name

    if text not in PUBLIC_WEIGHTS and not is_timm_name(text):
        raise UserError(
            f"there are no public backbone weights {text}; name a variant that has some ({', '.join(PUBLIC_WEIGHTS)}), "
            f"or DINOv3 weights as timm does ({PUBLIC_WEIGHTS['small']}, ...)."
        )
    return PUBLIC_WEIGHTS.get(text, text)


def _fetch_model(repository: str, options: Namespace) -> None:
    from DinoUNetCore.weights import hub, library
    from DinoUNetCore.weights.inventory import NAMED, take_inventory
    from DinoUNetCore.weights.timm_names import is_timm_name

    folder = with_license(lambda: hub.fetch_bundle(repository), options.accept_dinov3_license)
    entry = library.add(folder, options.overwrite)
    _say_added(entry)
    model = take_inventory().model(entry.name)
    if model.backbone == NAMED and is_timm_name(model.backbone_name or ""):
        _fetch_backbone(model.backbone_name, options)


def _fetch_backbone(timm_model: str, options: Namespace) -> None:
    from DinoUNetCore.model_list import bytes_in_words
    from DinoUNetCore.weights import hub
    from DinoUNetCore.weights.inventory import size_on_disk

    folder = with_license(lambda: hub.fetch_backbone(timm_model), options.accept_dinov3_license)
    _say(f"the backbone {timm_model} is in the hub's cache ({bytes_in_words(size_on_disk(folder))}).")


def import_path(options: Namespace) -> None:
    """Take a bundle into the library, or backbone weights into its store; the content tells which it is."""
    from DinoUNetCore.weights import library
    from DinoUNetCore.weights.bundle_files import holds_bundle

    if not options.path.exists():
        raise UserError(f"{options.path} does not exist; give a model's folder or zip, or backbone weights.")
    if holds_bundle(options.path):
        if options.name is not None:
            raise UserError(f"{options.path} is a model, and --name is for backbone weights; leave it out.")
        _say_added(library.add(options.path, options.overwrite))
        return
    from DinoUNetCore.model_list import bytes_in_words
    from DinoUNetCore.weights.importing import import_backbone

    stored = import_backbone(options.path, options.name and _timm_name(options.name))
    size = f"{bytes_in_words(stored.size)}, SHA-256 {stored.sha256[:12]}..."
    if stored.timm_model is not None:
        _say(f"the backbone {stored.timm_model} is in the library ({size}).")
        return
    _say(f"a backbone of the variant {stored.variant} is in the library ({size}).")
    _say("models that were trained with it find it; for new trainings say by --name which weights it has.")


def _say_added(entry: "Entry") -> None:
    from DinoUNetCore.model_list import bytes_in_words
    from DinoUNetCore.weights.inventory import NAMED, take_inventory

    model = take_inventory().model(entry.name)
    _say(f"the model {entry.name} is in the library ({bytes_in_words(model.size)}).")
    if model.backbone == NAMED:
        _say(f"its backbone {model.backbone_name} is not on this computer yet.")


def export(options: Namespace) -> None:
    """Write a model as one zip, with the backbone that it names if that is asked for."""
    path, config, holds_backbone = _find_model(options.name)
    wanted = options.with_backbone or options.backbone is not None
    if wanted and config["backbone"]["stored"]:
        _say(f"{options.name} holds its own backbone and needs no other one.")
        wanted = False
    keep = wanted and holds_backbone and options.backbone is None
    backbone = _backbone_of(config, options) if wanted and not keep else None

    from DinoUNetCore.model_list import bytes_in_words
    from DinoUNetCore.weights.exporting import export_bundle

    export_bundle(path, options.output, backbone, options.overwrite, options.license, keep)
    _say(f"{options.output} is written ({bytes_in_words(options.output.stat().st_size)}).")


def _backbone_of(config: dict[str, Any], options: Namespace) -> "BackboneWeights":
    from DinoUNetCore.weights.dinov3 import find_backbone

    source, record = options.backbone or "hub", config["backbone"]
    return with_license(
        lambda: find_backbone(source, record.get("name"), record["sha256"]), options.accept_dinov3_license
    )


def remove(options: Namespace) -> None:
    """Delete a model of the library, or a backbone of its store and of the hub's cache."""
    from DinoUNetCore.model_list import bytes_in_words
    from DinoUNetCore.weights import backbone_store, hub, library
    from DinoUNetCore.weights.inventory import STORE, take_inventory

    inventory = take_inventory()
    if model := inventory.model(options.name):
        library.remove(model.name)
        _say(f"the model {model.name} is removed: {bytes_in_words(model.size)} are free again.")
        for one in take_inventory().backbones:
            if one.sha256 == model.backbone_sha256 and not one.models and model.backbone_place == STORE:
                _say(f"its backbone {one.name} ({bytes_in_words(one.size)}) stays; remove it too if nothing needs it.")
        return
    for one in inventory.backbones_called(options.name):
        if one.place == STORE:
            freed, place = backbone_store.remove(one.sha256), "library"
        else:
            freed, place = hub.remove_cached(one.name), "hub's cache"
        _say(f"the backbone {one.name} is removed from the {place}: {bytes_in_words(freed)} are free again.")
        if one.models:
            _say(f"models that need it: {', '.join(one.models)}.")


def verify(options: Namespace) -> None:
    """Read models and backbones, and compare their SHA-256."""
    from DinoUNetCore.weights.inventory import take_inventory

    damaged: list[UserError] = []
    checks = take_inventory().checks(options.names)
    for title, check in checks:
        try:
            found = check()
        except UserError as error:
            damaged.append(error)
            if len(checks) > 1:
                print(f"error: {error}", file=sys.stderr, flush=True)
        else:
            _say(f"{title} {found or 'is sound'}.")
    if len(damaged) == 1 == len(checks):
        raise damaged[0]
    if damaged:
        raise UserError(f"damaged: {len(damaged)} of {len(checks)}; remove or replace what the lines above name.")


def import_official(options: Namespace) -> None:
    """Make a bundle of a checkpoint of the authors' code, in the library or where it is wanted."""
    from DinoUNetCore.weights import library
    from DinoUNetCore.weights.models_folder import workshop
    from DinoUNetCore.weights.official_bundle import make_official_bundle

    if options.name is not None:
        _check_free(options.name, options)  # before the work
    files = (options.checkpoint, options.plans, options.dataset)
    bundle = make_official_bundle(*files, options.name, stored=options.stored)
    _check_free(bundle.name, options)
    if about_slices := bundle.config["training"].get("slices"):
        _say(f"the slices of {bundle.name} are {about_slices}.")
    if options.output is not None:
        bundle.save(options.output, options.overwrite)
        _say(f"{options.output} is written.")
        return
    with workshop() as temporary:
        bundle.save(temporary / "bundle")
        _say_added(library.add(temporary / "bundle", options.overwrite))


def _check_free(name: str, options: Namespace) -> None:
    """UserError if what a new model would be written to is taken."""
    from DinoUNetCore.weights import library

    if options.output is not None:
        if options.output.exists() and not options.overwrite:
            raise UserError(f"{options.output} exists already; choose another name or add --overwrite.")
        return
    holder = library.holder(name)
    if holder == "embedded":
        raise UserError(f"a model called {name} comes with the program; give yours another name by --name.")
    if holder is not None and not options.overwrite:
        raise UserError(f"the library has a model called {name} already; choose another --name or add --overwrite.")


def push(options: Namespace) -> None:
    """Upload a model to the Hugging Face Hub."""
    from DinoUNetCore.weights import hub
    from DinoUNetCore.weights.importing import as_folder

    if not options.repository.startswith(hub.HUB_PREFIX):
        raise UserError(f"{options.repository} is no repository of the hub; write {hub.HUB_PREFIX}OWNER/NAME.")
    path, *_ = _find_model(options.name)
    with as_folder(path) as folder:
        _say(hub.push_bundle(folder, options.repository.removeprefix(hub.HUB_PREFIX), options.private))


def show_license(options: Namespace) -> None:
    """Say whether the licence of DINOv3 weights was accepted, or accept it."""
    from DinoUNetCore.model_list import license_status
    from DinoUNetCore.weights import license

    if options.accept:
        license.accept()
    status = license_status()
    _say(f"{status[0].upper()}{status[1:]}.")


def _find_model(name: str) -> tuple[Path, dict[str, Any], bool]:
    """Path and config of a model by its path or name, and whether the backbone that it names lies in it.

    UserError if there is none, or it is damaged.
    """
    from DinoUNetCore.weights import library
    from DinoUNetCore.weights.bundle_files import CONFIG, check_config, opened

    path = library.find(name)
    with opened(path) as bundle:
        return path, check_config(path, bundle.read(CONFIG)), bool(bundle.backbone)


def _say(text: str) -> None:
    print(text, flush=True)


ACTIONS = {
    "list": list_all,
    "fetch": fetch,
    "import": import_path,
    "export": export,
    "remove": remove,
    "verify": verify,
    "import-official": import_official,
    "push": push,
    "license": show_license,
}


if __name__ == "__main__":
    run(main)

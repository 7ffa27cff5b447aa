"""Exported bundles: one zip, whole or not there, that brings its backbone and the backbone's licence along."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbone_files import metas_form
from random_bundle import make_bundle
from travelling import (
    LICENSE,
    SMALL,
    TINY,
    make_backbone_folder,
    make_travelling,
    save_named,
    save_weights,
    write_record,
    zipped,
)

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store, library
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.exporting import export_bundle

ROOT = Path(__file__).resolve().parents[3]
MODEL = ["README.md", "config.json", "model.safetensors"]
BACKBONE = ["backbone/LICENSE.md", "backbone/backbone.json", "backbone/model.safetensors"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """small/: a bundle of the variant small that names its backbone; public/: the backbone as timm has it.

    tiny/ and kept/: a smaller bundle, and its backbone as the library keeps it.
    """
    place = tmp_path_factory.mktemp("place")
    small, tiny = make_bundle(variant=SMALL), make_bundle(variant=TINY)
    save_named(small, "knee", place / "small")
    save_weights(small, place / "public")
    save_named(tiny, "knee", place / "tiny")
    make_backbone_folder(place / "kept", tiny)
    return place


def names(archive):
    with zipfile.ZipFile(archive) as file:
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED} and file.testzip() is None
        return sorted(file.namelist())


def record_in_folder(folder):
    return json.loads((folder / "backbone.json").read_text(encoding="utf-8"))


def record_of(archive):
    with zipfile.ZipFile(archive) as file:
        return json.loads(file.read("backbone/backbone.json"))


def test_a_bundle_is_exported_without_its_backbone(place, tmp_path):
    make_travelling(tmp_path / "bundle")
    export_bundle(tmp_path / "bundle", tmp_path / "deep" / "out.zip")
    assert names(tmp_path / "deep" / "out.zip") == MODEL
    assert load_bundle(tmp_path / "deep" / "out.zip").config == load_bundle(tmp_path / "bundle").config


def test_public_weights_travel_with_the_bundle_and_their_licence(folder, place, tmp_path):
    out = tmp_path / "out.zip"
    export_bundle(place / "small", out, BackboneWeights(place / "public"))
    assert names(out) == sorted(MODEL + BACKBONE)
    record = record_of(out)
    assert (record["variant"], record["timm_model"]) == ("small", SMALL.timm_model)
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]  # nothing temporary is left

    entry = library.add(out)
    assert (backbone_store.find(record["sha256"]) / "LICENSE.md").read_text(encoding="utf-8") == LICENSE
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        expected = load_bundle(place / "small", place / "public").build_network()(x)
        assert torch.equal(load_bundle(entry.path).build_network()(x), expected)
        assert torch.equal(load_bundle(out).build_network()(x), expected)


def test_a_kept_backbone_is_copied_as_it_is_and_always_gives_the_same_zip(folder, place, tmp_path):
    for name in ("a.zip", "b.zip"):
        export_bundle(place / "tiny", tmp_path / name, BackboneWeights(place / "kept"))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.read("backbone/model.safetensors") == (place / "kept" / "model.safetensors").read_bytes()
    library.add(tmp_path / "a.zip")
    assert len(backbone_store.entries()) == 1


def test_weights_from_meta_s_file_are_converted_on_the_way(folder, place, tmp_path):
    backbone = load_bundle(place / "small", place / "public").build_network().backbone
    torch.save(metas_form(backbone, 2 * backbone.rope_periods), tmp_path / "meta.pth")
    (tmp_path / "terms.txt").write_text(LICENSE, encoding="utf-8")
    out = tmp_path / "out.zip"
    export_bundle(place / "small", out, BackboneWeights(tmp_path / "meta.pth"), license_file=tmp_path / "terms.txt")
    assert names(out) == sorted([*MODEL, "backbone/LICENSE.txt", *BACKBONE[1:]])
    assert set(record_of(out)["files"]) == {"LICENSE.txt", "model.safetensors"}
    load_bundle(library.add(out).path).build_network()


def test_weights_without_a_licence_do_not_travel_unless_it_is_given(folder, place, tmp_path):
    bare = save_weights(make_bundle(variant=SMALL), tmp_path / "bare", licensed=False)
    with pytest.raises(UserError, match=r"no LICENSE file lies beside .*bare.*name it by --license FILE"):
        export_bundle(place / "small", tmp_path / "out.zip", BackboneWeights(bare))
    with pytest.raises(UserError, match=r"the licence file .*none\.txt does not exist"):
        export_bundle(place / "small", tmp_path / "out.zip", BackboneWeights(bare), license_file=tmp_path / "none.txt")
    assert not (tmp_path / "out.zip").exists()
    export_bundle(
        place / "small", tmp_path / "out.zip", BackboneWeights(bare), license_file=place / "public/LICENSE.md"
    )
    assert names(tmp_path / "out.zip") == sorted(MODEL + BACKBONE)


def test_other_texts_beside_weights_are_no_licence(place, tmp_path):
    bare = save_weights(make_bundle(variant=SMALL), tmp_path / "bare", licensed=False)
    (bare / "license_key.txt").write_text("DINOv3: 1234", encoding="utf-8")
    (bare / "LICENSE").write_text("Apache License", encoding="utf-8")
    (bare / "licenses").mkdir()
    with pytest.raises(UserError, match="no LICENSE file lies beside"):
        export_bundle(place / "small", tmp_path / "out.zip", BackboneWeights(bare))
    with pytest.raises(UserError, match="does not hold the licence of DINOv3 weights"):
        export_bundle(place / "small", tmp_path / "out.zip", BackboneWeights(bare), license_file=bare / "LICENSE")


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_dinov3_weights_in_the_bundle_itself_need_their_licence_too(random_bundle, place, tmp_path, as_zip):
    bundle = random_bundle()
    bundle.config["backbone"]["source"] = "official"
    source = tmp_path / ("derived.zip" if as_zip else "derived")
    replace(bundle, licenses={"LICENSE.md": "Apache License"}).save(source)
    out = tmp_path / "out.zip"
    with pytest.raises(UserError, match=r"no LICENSE file .* weights of .*derived.*name it by --license FILE"):
        export_bundle(source, out)
    export_bundle(source, out, license_file=place / "public" / "LICENSE.md")
    assert load_bundle(out).licenses == {"LICENSE.md": "Apache License", "LICENSE.txt": LICENSE}
    export_bundle(out, tmp_path / "again.zip")
    assert names(tmp_path / "again.zip") == names(out)


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_a_bundle_that_travels_takes_its_backbone_along_if_it_is_to(folder, tmp_path, as_zip):
    bundle = make_travelling(tmp_path / "bundle")
    export_bundle(zipped(bundle) if as_zip else bundle, tmp_path / "out.zip", keep_backbone=True)
    assert names(tmp_path / "out.zip") == sorted(MODEL + BACKBONE)
    library.add(tmp_path / "out.zip")
    assert len(backbone_store.entries()) == 1


def test_a_bundle_that_travels_without_a_licence_needs_one(folder, place, tmp_path):
    bundle = make_travelling(tmp_path / "bundle")
    (bundle / "backbone" / "LICENSE.md").unlink()
    write_record(bundle / "backbone", record_in_folder(bundle / "backbone")["sha256"])
    with pytest.raises(UserError, match="name it by --license FILE"):
        export_bundle(bundle, tmp_path / "out.zip", keep_backbone=True)
    assert not (tmp_path / "out.zip").exists()
    export_bundle(bundle, tmp_path / "out.zip", keep_backbone=True, license_file=place / "public" / "LICENSE.md")
    library.add(tmp_path / "out.zip")
    (one,) = backbone_store.entries()
    assert (one.path / "LICENSE.md").read_text(encoding="utf-8") == LICENSE


def test_a_record_beside_the_file_that_describes_other_weights_is_not_used(folder, place, tmp_path):
    """The file that was checked travels, not what lies beside it."""
    beside = make_backbone_folder(tmp_path / "beside", make_bundle(seed=1, variant=TINY))
    (beside / "wanted.safetensors").write_bytes((place / "public" / "model.safetensors").read_bytes())
    export_bundle(place / "small", tmp_path / "out.zip", BackboneWeights(beside / "wanted.safetensors"))
    assert record_of(tmp_path / "out.zip")["sha256"] == BackboneWeights(place / "public").sha256()
    load_bundle(library.add(tmp_path / "out.zip").path).build_network()


def test_the_name_that_travels_is_the_one_that_the_bundle_gives(folder, place, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(place / "kept", kept)
    write_record(kept, record_in_folder(kept)["sha256"], timm_model=None)
    export_bundle(place / "tiny", tmp_path / "out.zip", BackboneWeights(kept))
    assert record_of(tmp_path / "out.zip")["timm_model"] == TINY.timm_model


def test_a_source_that_cannot_be_read_is_not_taken_for_an_output_that_cannot_be_written(place, tmp_path):
    bundle = zipped(Path(shutil.copytree(place / "tiny", tmp_path / "bundle")))
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(UserError, match=r"bundle\.zip is .*damaged"):
        export_bundle(bundle, tmp_path / "out.zip")


def test_other_weights_than_the_bundle_names_are_refused(place, tmp_path):
    other = make_backbone_folder(tmp_path / "other", make_bundle(seed=1, variant=TINY))
    for source, backbone in ((place / "tiny", other), (place / "tiny", place / "public"), (place / "small", other)):
        with pytest.raises(UserError, match=r"is not the backbone that .* was trained with .*--backbone FILE"):
            export_bundle(source, tmp_path / "out.zip", BackboneWeights(backbone))
    assert not (tmp_path / "out.zip").exists()


def test_a_bundle_with_a_backbone_of_its_own_takes_no_other_one(random_bundle, place, tmp_path):
    random_bundle().save(tmp_path / "own")
    with pytest.raises(UserError, match="holds its own backbone already"):
        export_bundle(tmp_path / "own", tmp_path / "out.zip", BackboneWeights(place / "kept"))


def test_an_existing_zip_stays_unless_it_is_to_be_overwritten(place, tmp_path):
    out = tmp_path / "out.zip"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"out\.zip exists already"):
        export_bundle(place / "tiny", out)
    assert out.read_bytes() == b"mine"
    export_bundle(place / "tiny", out, overwrite=True)
    assert names(out) == MODEL
    with pytest.raises(UserError, match=r"ends in \.zip instead of .*out\.tar"):
        export_bundle(place / "tiny", tmp_path / "out.tar")


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors", "backbone"])
def test_what_is_damaged_is_not_passed_on(place, tmp_path, damaged):
    bundle = make_travelling(tmp_path / "bundle")
    backbone = BackboneWeights(bundle / "backbone")
    path = bundle / damaged if damaged != "backbone" else bundle / "backbone" / "LICENSE.md"
    content = bytearray(path.read_bytes())
    content[0 if damaged == "config.json" else -3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        export_bundle(bundle, tmp_path / "out.zip", backbone)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on a file's size is POSIX's")
@pytest.mark.parametrize("backbone", ["kept", "public"])
def test_a_full_disk_is_told_in_one_sentence_and_nothing_is_left(folder, place, tmp_path, backbone):
    bundle = place / ("tiny" if backbone == "kept" else "small")
    limit = sum(path.stat().st_size for path in (*bundle.iterdir(), *(place / backbone).iterdir())) - 5000
    code = (
        "import resource, sys\n"
        "from DinoUNetCore.command_line import run\n"
        "from DinoUNetCore.weights.backbone_weights import BackboneWeights\n"
        "from DinoUNetCore.weights.exporting import export_bundle\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "run(lambda: export_bundle(sys.argv[1], sys.argv[2], BackboneWeights(sys.argv[3])))\n"
    )
    command = [sys.executable, "-c", code, bundle, tmp_path / "out.zip", place / backbone]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: cannot write {tmp_path / 'out.zip'}: ") and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

"""Bundles: what is saved is what is loaded, and what is damaged is refused."""

import json
import os
import tracemalloc
import zipfile
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from backbone_files import metas_form
from random_bundle import SIZES
from travelling import make_travelling, zipped

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.dinov3 import BACKBONE_FILE


@pytest.fixture
def saved(random_bundle, tmp_path):
    bundle = random_bundle()
    bundle.save(tmp_path / "bundle")
    return bundle, tmp_path / "bundle"


@pytest.mark.parametrize("name", ["again", "again.zip", "name with blanks \u00e4\u00f6"])
def test_a_saved_bundle_gives_the_same_network(random_bundle, tmp_path, name):
    bundle = random_bundle()
    bundle.save(tmp_path / name)
    again = load_bundle(tmp_path / name)
    x = torch.randn(1, bundle.in_channels, 64, 96)
    with torch.inference_mode():
        assert torch.equal(bundle.build_network()(x), again.build_network()(x))
    assert again.labels == bundle.labels and again.normalization == bundle.normalization
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]  # nothing temporary is left


def test_an_existing_bundle_is_not_overwritten_unless_asked(saved):
    bundle, folder = saved
    with pytest.raises(UserError, match="exists already"):
        bundle.save(folder)
    bundle.save(folder, overwrite=True)
    load_bundle(folder)


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=3), "format version 3"),
        (lambda c: c.update(format_version="x"), "format version x"),
        (lambda c: c.pop("format_version"), "format_version"),
        (lambda c: c.pop("labels"), "labels"),
        (lambda c: c["labels"].pop(), "num_classes"),
        (lambda c: c["input"].pop("plane"), "plane"),
        (lambda c: c["input"].update(spacing=[1]), "damaged"),
        (lambda c: c["input"].update(unit="inch"), "unit"),
        (lambda c: c["input"]["normalization"][0].update(scheme="odd"), "odd"),
        (lambda c: c["architecture"]["sizes"].update(colour=1), "colour"),
        (lambda c: c["weights"].update(sha256="0" * 64), "SHA-256"),
    ],
)
def test_a_damaged_config_is_refused_with_what_is_wrong(saved, change, message):
    _, folder = saved
    edit(folder, change)
    with pytest.raises(UserError, match=message) as caught:
        load_bundle(folder)
    assert str(folder) in str(caught.value)


def test_changed_weights_are_refused(saved):
    _, folder = saved
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        load_bundle(folder)


def test_missing_tensors_are_refused(random_bundle, tmp_path):
    bundle = random_bundle()
    name = next(iter(bundle.tensors))
    del bundle.tensors[name]
    bundle.save(tmp_path / "bundle")
    with pytest.raises(UserError, match=name):
        load_bundle(tmp_path / "bundle").build_network()


@pytest.mark.parametrize("kind", ["missing", "empty folder", "text file", "broken zip", "foreign zip"])
def test_what_is_no_bundle_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "thing.zip"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "text file":
        path.write_text("hello", encoding="utf-8")
    elif kind == "broken zip":
        path.write_bytes(b"PK\x03\x04 and no more")
    elif kind == "foreign zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"thing\.zip"):
        load_bundle(path)


def test_the_weights_in_a_zip_are_held_in_memory_once(random_bundle, tmp_path):
    """Beside the tensors, which torch holds, nothing of their size is needed."""
    bundle = random_bundle()
    bundle.tensors["large"] = torch.zeros(10_000_000)
    bundle.save(tmp_path / "bundle.zip")
    tracemalloc.start()
    try:
        again = load_bundle(tmp_path / "bundle.zip")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert again.tensors["large"].shape == (10_000_000,)


def test_a_zip_with_its_backbone_says_where_that_cannot_be_kept(tmp_path, monkeypatch):
    archive = zipped(make_travelling(tmp_path / "travel"))
    (tmp_path / "library").write_text("a file is in the way", encoding="utf-8")
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "library"))
    with pytest.raises(UserError, match=r"^cannot write into the folder of models .*library.* DINOUNET_MODELS\.$"):
        load_bundle(archive)


def test_rope_periods_of_the_bundle_override_the_computed_ones(random_bundle, tmp_path):
    bundle = random_bundle()
    periods = [float(p) * 1.5 for p in bundle.config["backbone"]["rope_periods"]]
    bundle.config["backbone"]["rope_periods"] = periods
    bundle.save(tmp_path / "bundle")
    network = load_bundle(tmp_path / "bundle").build_network()
    torch.testing.assert_close(network.backbone.rope_periods, torch.tensor(periods))


def test_a_bundle_that_knows_no_unit_yet_counts_in_mm(random_bundle):
    assert random_bundle().unit == "mm"
    assert random_bundle(dimension=2, unit="pixel").unit == "pixel"


@pytest.fixture(scope="module")
def named(random_bundle, tmp_path_factory):
    """A whole bundle, the folder of one that names its backbone only, and the backbone's file in both public forms."""
    folder = tmp_path_factory.mktemp("named")
    whole = random_bundle(variant=replace(SIZES, timm_model="vit_made_up"))
    backbone = whole.build_network().backbone
    safetensors.torch.save_file(backbone.vit.state_dict(), folder / "timm.safetensors")
    torch.save(metas_form(backbone, 2 * backbone.rope_periods), folder / "meta.pth")  # the bundle's own periods count
    record = whole.config["backbone"] | {"name": "vit_made_up", "source": "file", "trained": False, "stored": False}
    rest = {name: tensor for name, tensor in whole.tensors.items() if not name.startswith("backbone.")}
    ModelBundle(whole.config | {"backbone": record}, rest).save(folder / "bundle")
    return whole, folder


@pytest.fixture
def without_hub(monkeypatch, tmp_path):
    """Nothing in the hub's cache, and no way to it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("DINOUNET_ACCEPT_DINOV3_LICENSE", raising=False)
    monkeypatch.delenv(BACKBONE_FILE, raising=False)


def test_a_backbone_that_is_only_named_comes_from_a_file_of_either_form(named, without_hub, monkeypatch):
    whole, folder = named
    x = torch.randn(1, whole.in_channels, 64, 96)
    monkeypatch.setenv(BACKBONE_FILE, str(folder / "meta.pth"))
    networks = [
        load_bundle(folder / "bundle").build_network(),
        load_bundle(folder / "bundle", backbone=folder / "timm.safetensors").build_network(),
        load_bundle(folder / "bundle").build_network(backbone=folder / "timm.safetensors"),
    ]
    rewritten = Segmenter(load_bundle(folder / "bundle", folder / "meta.pth"), "cpu").network
    with torch.inference_mode():
        expected = whole.build_network()(x)
        for network in networks:
            assert torch.equal(network(x), expected)
        assert (rewritten(x) - expected).abs().max() < 1e-4


def test_a_backbone_with_another_hash_or_without_a_file_is_refused_by_name(named, without_hub, monkeypatch, tmp_path):
    whole, folder = named
    other = {name: tensor + 1e-3 for name, tensor in whole.build_network().backbone.vit.state_dict().items()}
    safetensors.torch.save_file(other, tmp_path / "other.safetensors")
    bundle = load_bundle(folder / "bundle")
    with pytest.raises(UserError, match=r"other\.safetensors does not hold .*bundle was trained with.*--backbone FILE"):
        bundle.build_network(backbone=tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"missing\.pth does not exist; check the name"):
        bundle.build_network(backbone="missing.pth")
    with pytest.raises(UserError, match=r"vit_made_up stands under the DINOv3 License.*--backbone FILE"):
        bundle.build_network()
    monkeypatch.setenv(BACKBONE_FILE, "gone.pth")
    with pytest.raises(UserError, match=r"DINOUNET_BACKBONE names the backbone file gone\.pth.*correct or unset it"):
        bundle.build_network()


def test_a_bundle_that_cannot_be_replaced_stays(random_bundle, tmp_path, monkeypatch):
    bundle = random_bundle()
    bundle.save(tmp_path / "bundle")
    before = (tmp_path / "bundle" / "config.json").read_bytes()
    replaced, replace = [], os.replace

    def fails_for_the_new_one(source, target):
        replaced.append(source)
        if len(replaced) == 2:
            raise PermissionError(13, "another program has it open")
        replace(source, target)

    monkeypatch.setattr("os.replace", fails_for_the_new_one)
    with pytest.raises(UserError, match="another program"):
        bundle.save(tmp_path / "bundle", overwrite=True)
    assert (tmp_path / "bundle" / "config.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_network_in_a_short_dtype_gives_what_autocast_gives(random_bundle):
    bundle = random_bundle()
    whole, short = bundle.build_network(), bundle.build_network(dtype=torch.bfloat16)
    assert (whole.dtype, short.dtype) == (torch.float32, torch.bfloat16)
    x = torch.randn(1, bundle.in_channels, 64, 96)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(short.features(x), whole.features(x))
    assert short.decoder.head.weight.dtype == torch.float32


def test_without_room_a_network_is_kept_short_and_says_so(random_bundle, monkeypatch):
    bundle = random_bundle()
    said = []
    monkeypatch.setattr("DinoUNetCore.weights.placement.free_memory", lambda device: 0)
    assert Segmenter(bundle, "cpu", say=said.append).precision == torch.bfloat16
    assert Segmenter(bundle, "cpu", precision="float32").precision == torch.float32
    assert len(said) == 1 and "bfloat16" in said[0]

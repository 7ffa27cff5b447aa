"""Bundles: what is saved is what is loaded, and what is damaged is refused."""

import json
import zipfile

import pytest
import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.bundle import load_bundle


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
        (lambda c: c.update(format_version=2), "format version 2"),
        (lambda c: c.update(format_version="x"), "format version x"),
        (lambda c: c.pop("format_version"), "format_version"),
        (lambda c: c.pop("labels"), "labels"),
        (lambda c: c["labels"].pop(), "num_classes"),
        (lambda c: c["input"].pop("plane"), "plane"),
        (lambda c: c["input"].update(spacing=[1]), "damaged"),
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


def test_rope_periods_of_the_bundle_override_the_computed_ones(random_bundle, tmp_path):
    bundle = random_bundle()
    periods = [float(p) * 1.5 for p in bundle.config["backbone"]["rope_periods"]]
    bundle.config["backbone"]["rope_periods"] = periods
    bundle.save(tmp_path / "bundle")
    network = load_bundle(tmp_path / "bundle").build_network()
    torch.testing.assert_close(network.backbone.rope_periods, torch.tensor(periods))

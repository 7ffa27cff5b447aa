"""Zips: what could do harm is refused by whoever opens it, before anything is unpacked."""

import stat
import zipfile
from pathlib import Path

import pytest
import torch
from travelling import make_travelling, save_weights

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import library
from DinoUNetCore.weights.bundle_files import holds_bundle, opened
from DinoUNetCore.weights.bundle_reading import load_bundle

READERS = {"add": library.add, "pack": library.pack, "load": load_bundle, "check": library.check}


@pytest.fixture(scope="module")
def saved(random_bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    random_bundle().save(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder of its own for the zip, with that of the library inside."""
    monkeypatch.setenv(library.VARIABLE, str(tmp_path / "place" / "library"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def named(name):
    return lambda archive: archive.writestr(name, "evil")


def link(archive):
    entry = zipfile.ZipInfo("LICENSE")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def many(archive):
    for number in range(2000):
        archive.writestr(f"{number}.txt", "")


def encrypted(archive):
    archive.writestr("LICENSE", "evil")
    archive.infolist()[-1].flag_bits |= 1


def bomb(archive):
    archive.writestr("LICENSE", bytes(60 << 20), zipfile.ZIP_DEFLATED)


def many_small_bombs(archive):
    for number in range(60):
        archive.writestr(f"backbone/{number}", bytes(1 << 20), zipfile.ZIP_DEFLATED)


HARM = {
    "parent": (named("../LICENSE"), "its entry ../LICENSE lies outside"),
    "parent of a folder": (named("LICENSE/../../x"), "lies outside"),
    "parent with backslashes": (named("backbone\\..\\..\\x"), "lies outside"),
    "absolute": (named("/LICENSE"), "lies outside"),
    "network drive": (named("\\\\host\\x"), "lies outside"),
    "drive": (named("C:\\LICENSE"), "lies outside"),
    "link": (link, "LICENSE is a link"),
    "twice": (named("model.safetensors"), "model.safetensors is there twice"),
    "twice, but for the case": (named("Config.JSON"), "Config.JSON is there twice"),
    "encrypted": (encrypted, "LICENSE is encrypted"),
    "unusual": (lambda a: a.writestr("LICENSE", "x", zipfile.ZIP_LZMA), "compressed in an unusual way"),
    "many": (many, "entries, and a model has a few"),
    "bomb": (bomb, "MB would become 64 MB"),
    "bombs": (many_small_bombs, "MB would become 64 MB"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("harm", HARM)
def test_a_zip_that_could_do_harm_is_refused_in_one_sentence_and_nothing_is_written(saved, place, harm, reader):
    spoil, reason = HARM[harm]
    evil = place / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        for path in saved.iterdir():
            archive.write(path, path.name)
        spoil(archive)
    with pytest.raises(UserError, match=r"evil\.zip is not unpacked: ") as caught:
        READERS[reader](evil)
    assert reason in str(caught.value) and str(caught.value).count("\n") == 0
    assert [path.name for path in place.parent.rglob("*")] == ["place", "evil.zip"]


def test_what_harms_is_also_told_in_the_list(saved, place):
    (place / "library").mkdir()
    with zipfile.ZipFile(place / "library" / "evil.zip", "w") as archive:
        for path in saved.iterdir():
            archive.write(path, path.name)
        archive.writestr("../LICENSE", "evil")
    assert "lies outside" in library.list_entries()[-1].problem


def test_a_zip_as_other_programs_write_it_is_sound(saved, place):
    """Compressed, with entries for folders and what macOS adds; texts shrink a lot."""
    with zipfile.ZipFile(place / "other.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle/", "")
        for path in saved.iterdir():
            archive.write(path, f"bundle/{path.name}")
        archive.writestr("bundle/LICENSE.txt", "may be used " * 10_000)
        archive.writestr("__MACOSX/bundle/._config.json", b"\0\5\x16\7")
    for reader in READERS.values():
        reader(place / "other.zip")


@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_zip_is_refused_in_one_sentence_and_nothing_is_written(saved, place, reader, damage):
    zip_file = place / "damaged.zip"
    content = bytearray(library.pack(saved))
    content[len(content) // 2] ^= 1
    zip_file.write_bytes(content[:-300] if damage == "cut" else content)
    with pytest.raises(UserError, match=r"damaged\.zip is .*damaged") as caught:
        READERS[reader](zip_file)
    assert str(caught.value).count("\n") == 0
    assert [path for path in place.rglob("*") if path.is_file()] == [zip_file]


def test_what_goes_wrong_while_a_bundle_is_open_is_not_laid_on_it(saved, place):
    (place / "sound.zip").write_bytes(library.pack(saved))
    for path in (saved, place / "sound.zip"):
        with pytest.raises(KeyError, match="a mistake of ours"), opened(path) as bundle:
            raise KeyError("a mistake of ours")
        with pytest.raises(OSError, match="a full disk"), opened(path) as bundle:
            raise OSError("a full disk")
        with pytest.raises(UserError, match="is no model or is damaged"), opened(path) as bundle:
            bundle.open("nothing")


def test_a_file_of_a_bundle_is_read_in_pieces_and_at_once(saved, place):
    (place / "sound.zip").write_bytes(library.pack(saved))
    expected = (saved / "model.safetensors").read_bytes()
    for path in (saved, place / "sound.zip"):
        with opened(path, "hf:me/knee") as bundle:
            assert bundle.size("model.safetensors") == len(expected)
            with bundle.open("model.safetensors") as file:
                assert file.read(10) + file.read() == expected


def test_a_zip_with_loose_weights_says_that_it_is_to_be_unpacked(place):
    with zipfile.ZipFile(place / "w.zip", "w") as archive:
        archive.writestr("weights/model.safetensors", "x")
    for reader in READERS.values():
        with pytest.raises(UserError, match=r"w\.zip is no model: .* unpack it and import the weights"):
            reader(place / "w.zip")


def test_bundles_are_told_from_other_files_by_their_content(random_bundle, saved, place):
    travelling = make_travelling(place / "travelling")
    (place / "bundle.bin").write_bytes(library.pack(saved))
    (place / "broken.zip").write_bytes(b"PK\x03\x04")
    (place / "spoilt").mkdir()
    (place / "spoilt" / "config.json").write_bytes(b"{")
    for path in (saved, travelling, place / "bundle.bin", place / "broken.zip", place / "spoilt"):
        assert holds_bundle(path), path
    theirs = save_weights(random_bundle(), place / "theirs")
    (theirs / "config.json").write_text('{"model_type": "dinov3_vit"}', encoding="utf-8")
    torch.save({"cls_token": torch.zeros(3)}, place / "meta.pth")
    for path in (theirs, theirs / "model.safetensors", place / "meta.pth", travelling / "backbone"):
        assert not holds_bundle(path), path

"""The library: what is added can be listed, sent and removed; what is damaged is told and never raises."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import library
from DinoUNetCore.weights.bundle_reading import load_bundle, unpack_bundle

LIVER, XRAY, LETTERS = "Leber \u809d\u81d3", "\u0440\u0435\u043d\u0442", "\u0627\u0644\u0643\u0628\u062f"
HARD_NAMES = [LIVER, XRAY, LETTERS, "a\u0301", "\u80ba" * 200, "x" * 300]
HARD_NAMES += ["CT: a/b\\c?*", "aux", "com1.model", "a dot.", " .hidden"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The library's folder, which does not exist yet; other models may lie beside it."""
    monkeypatch.setenv(library.VARIABLE, str(tmp_path / "my models"))
    return tmp_path / "my models"


@pytest.fixture(scope="module")
def saved(random_bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    random_bundle().save(folder)
    return folder


@pytest.fixture
def make(saved, tmp_path):
    """Writes a bundle of some name to a folder or zip and returns its path."""

    def make(name="random", path="bundle", seed=0) -> Path:
        target = tmp_path / path
        is_zip = target.suffix.lower() == ".zip"
        folder = tmp_path / "to be packed" if is_zip else target
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        edit(folder, lambda config: config.update(name=name, training={"seed": seed}))
        if is_zip:
            target.write_bytes(library.pack(folder))
            shutil.rmtree(folder)
        return target

    return make


def own():
    return [entry for entry in library.list_entries() if entry.source == "library"]


def edit(bundle, change):
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    change(config)
    (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_embedded_model_is_always_there_and_sound(folder):
    (entry,) = library.list_entries()
    assert (entry.name, entry.source, entry.problem) == ("phantom-tiny", "embedded", None)
    assert entry.sha256 == library.digest((entry.path / "config.json").read_bytes())
    assert entry.config["input"]["channel_names"] == ["CT"]


@pytest.mark.parametrize("path", ["bundle", "bundle.zip", "B\u00fcndel mit Leerzeichen.ZIP"])
def test_an_added_bundle_is_listed_and_loads(folder, make, path):
    source = make("Kidneys", path)
    added = library.add(source)
    assert own() == [added]
    assert (added.name, added.path, added.problem) == ("Kidneys", folder / "Kidneys", None)
    assert load_bundle(added.path).name == "Kidneys"
    assert files_below(folder) == [f"Kidneys/{name}" for name in ("README.md", "config.json", "model.safetensors")]
    assert source.exists()


def test_a_zip_of_the_folder_itself_is_taken_too(folder, make, tmp_path):
    make("Kidneys")
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "bundle")
    assert library.add(tmp_path / "zipped.zip").name == "Kidneys"


def test_only_the_bundle_s_own_files_and_its_licence_are_copied(folder, make):
    source = make()
    for name in ("LICENSE.txt", "notes.docx", ".DS_Store"):
        (source / name).write_text("x", encoding="utf-8")
    (source / "checkpoints").mkdir()
    library.add(source)
    assert files_below(folder / "random") == ["LICENSE.txt", "README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_in_any_script_become_folders_that_every_system_takes(folder, make, name):
    entry = library.add(make(name))
    stored = entry.path.name
    assert entry.path.parent == folder and own() == [entry]
    assert not set(stored) & set('<>:"/\\|?*') and stored[0] not in ". " and stored[-1] not in ". "
    assert stored.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt1")
    assert len(stored.encode("utf-8")) <= 101
    library.remove(entry.name)
    assert own() == []


def test_letters_stay_as_they_are():
    for name in (LIVER, XRAY, LETTERS, "na\u00efve-1.2 (b)"):
        assert library.file_name(name) == name


@pytest.mark.parametrize("other", ["Random", "random"])
def test_a_taken_name_is_refused_unless_it_is_to_be_overwritten(folder, make, other):
    first = library.add(make("random", seed=0))
    second = make(other, "other", seed=1)
    with pytest.raises(UserError, match=f"has a model called {other} already"):
        library.add(second)
    assert own() == [first]
    replaced = library.add(second, overwrite=True)
    assert own() == [replaced] and replaced.sha256 != first.sha256
    assert [path.name for path in folder.iterdir()] == [other]


def test_the_same_model_once_more_is_no_clash_and_mends_the_one_that_is_there(folder, make):
    source = make()
    first = library.add(source)
    (first.path / "model.safetensors").write_bytes(b"damaged")
    assert library.add(source) == first and own() == [first]
    library.check(first.path)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PermissionError])
def test_a_model_whose_replacement_is_interrupted_stays(folder, make, monkeypatch, stop):
    first = library.add(make("knee", seed=0))
    replace = os.replace

    def stops_at_the_new_one(source, target):
        if Path(source).name == "bundle":
            raise stop
        replace(source, target)

    monkeypatch.setattr("os.replace", stops_at_the_new_one)
    with pytest.raises((KeyboardInterrupt, UserError)):
        library.add(make("knee", "other", seed=1), overwrite=True)
    assert own() == [first] and [path.name for path in folder.iterdir()] == ["knee"]
    library.check(first.path)


def test_a_path_counts_before_a_name_and_what_is_neither_is_told(folder, make, tmp_path, monkeypatch):
    library.add(make("knee"))
    assert library.find("knee") == folder / "knee"
    monkeypatch.chdir(tmp_path)
    make("knee of this folder", "knee")
    assert library.find("knee") == Path("knee") and load_bundle("knee").name == "knee of this folder"
    with pytest.raises(UserError, match=r"there is no model bundle elbow; .* one of: phantom-tiny, knee\.$"):
        library.find("elbow")


def test_who_holds_a_name_is_known(folder, make):
    library.add(make("Knee"))
    names = ("knee", "phantom-tiny", "elbow")
    assert [library.holder(name) for name in names] == ["library", "embedded", None]


@pytest.mark.parametrize("path", ["bundle", "bundle.zip"])
def test_a_sound_bundle_passes_the_check_and_a_damaged_one_does_not(make, path):
    source = make(path=path)
    library.check(source)
    file = source / "model.safetensors" if source.is_dir() else source
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        library.check(source)


def test_the_embedded_model_s_name_is_not_to_be_had(folder, make):
    for overwrite in (False, True):
        with pytest.raises(UserError, match="called phantom-tiny comes with the program"):
            library.add(make("phantom-tiny"), overwrite=overwrite)


def test_zips_and_folders_that_the_user_has_put_there_are_listed(folder, make):
    folder.mkdir()
    shutil.copytree(make("a"), folder / "by hand")
    shutil.copy(make("b", "b.zip"), folder / "by hand.zip")
    shutil.copy(make("c", "c.zip"), folder / "third.zip")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    assert [entry.name for entry in own()] == ["by hand", "by hand.zip", "third"]
    assert all(entry.problem is None for entry in own())
    library.remove("third")
    library.remove("by hand.zip")
    assert sorted(path.name for path in folder.iterdir()) == ["by hand", "notes.txt"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: (b / "config.json").unlink(), "it has no config.json"),
        (lambda b: (b / "model.safetensors").unlink(), "it has no model.safetensors"),
        (lambda b: (b / "config.json").write_bytes(b"{"), "cannot be read"),
        (lambda b: (b / "config.json").write_bytes(b"[1]"), "cannot be read"),
        (lambda b: (b / "config.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda b: (b / "config.json").write_bytes(b"[" * 100_000), "cannot be read"),
        (lambda b: (b / "config.json").write_bytes(b" " * (600 << 10)), "larger than 512 KiB"),
        (lambda b: edit(b, lambda c: c.update(format_version=3)), "format version 3"),
        (lambda b: edit(b, lambda c: c.update(metrics=float("nan"))), "cannot be read"),
        (lambda b: edit(b, lambda c: c.update(name=5)), "misstates name"),
        (lambda b: edit(b, lambda c: c.pop("labels")), "misstates 'labels'"),
        (lambda b: edit(b, lambda c: c["input"].update(channel_names=[1])), "misstates channel_names"),
        (lambda b: edit(b, lambda c: c["input"].update(normalization="ct")), "misstates"),
        (lambda b: edit(b, lambda c: c["input"].pop("plane")), "misstates 'plane'"),
        (lambda b: edit(b, lambda c: c["input"].update(plane="oblique")), "misstates plane"),
        (lambda b: edit(b, lambda c: c["input"].update(planes=None)), "misstates planes"),
        (lambda b: edit(b, lambda c: c["input"].update(planes="axial")), "misstates planes"),
        (lambda b: edit(b, lambda c: c["input"].update(planes=[])), "misstates planes"),
        (lambda b: edit(b, lambda c: c["input"].update(planes=["axial", "oblique"])), "misstates planes"),
        (lambda b: edit(b, lambda c: c.update(weights=None)), "misstates"),
        (lambda b: edit(b, lambda c: c.update(architecture=[1])), "misstates"),
        (lambda b: edit(b, lambda c: c["architecture"].update(variant={"a": 1})), "misstates architecture"),
        (lambda b: edit(b, lambda c: c["architecture"].update(variant="\x1b[2J")), "misstates architecture"),
        (lambda b: edit(b, lambda c: c["backbone"].update(name=[1])), "misstates backbone"),
        (lambda b: edit(b, lambda c: c["backbone"].update(source=3)), "misstates backbone"),
        (lambda b: edit(b, lambda c: c.pop("format_version")), "is no model of Dino U-Net"),
        (lambda b: edit(b, lambda c: c.update(format_version="9" * 1000)), f"format version {'9' * 20}, and"),
    ],
)
def test_what_is_damaged_is_listed_with_its_reason_and_cannot_be_added(folder, make, spoil, reason):
    source = make()
    spoil(source)
    with pytest.raises(UserError, match=reason) as caught:
        library.add(source)
    assert str(source) in str(caught.value) and not folder.exists()
    shutil.copytree(source, folder / "spoilt")
    (entry,) = own()
    assert entry.name == "spoilt" and reason in entry.problem and entry.sha256 == "" and entry.config == {}
    library.remove("spoilt")
    assert own() == []


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(100)])
def test_a_zip_that_is_none_is_listed_with_its_reason(folder, content):
    folder.mkdir()
    (folder / "odd.zip").write_bytes(content)
    (entry,) = own()
    assert "odd.zip is no model or is damaged" in entry.problem


def test_changed_weights_are_not_added_and_nothing_is_left(folder, make):
    source = make()
    content = bytearray((source / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (source / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        library.add(source)
    assert list(folder.iterdir()) == []


def test_removing_what_is_not_there_or_comes_with_the_program_is_refused(folder, make):
    for name, reason in (("nothing", "is not in"), ("phantom-tiny", "comes with the program"), ("..", "is not in")):
        with pytest.raises(UserError, match=reason):
            library.remove(name)
    assert library.list_entries()


@pytest.mark.parametrize("path", ["bundle", "bundle.zip"])
def test_a_packed_bundle_is_the_same_bundle(folder, make, path):
    source = make(path=path)
    packed = library.pack(source)
    bundle, expected = unpack_bundle(packed, "packed"), load_bundle(source)
    assert bundle.config == expected.config and bundle.card == expected.card
    assert all(bundle.tensors[name].equal(tensor) for name, tensor in expected.tensors.items())
    with pytest.raises(UserError, match="nothing does not exist"):
        library.pack(source.parent / "nothing")


def test_of_a_packed_bundle_only_the_bundle_s_own_files_are_taken(make):
    packed = io.BytesIO(library.pack(make()))
    with zipfile.ZipFile(packed, "a") as archive:
        for name in ("LICENSE.md", "license_key.txt", "run.py", "deep/x.txt", "backbone/backbone.json"):
            archive.writestr(name, "DINOv3 License")
    assert list(unpack_bundle(packed.getvalue(), "sent").licenses) == ["LICENSE.md"]


def test_a_licence_that_is_too_long_is_refused_not_cut(make):
    source = make()
    (source / "LICENSE.md").write_text("x" * (600 << 10), encoding="utf-8")
    with pytest.raises(UserError, match=r"its LICENSE\.md is larger than 512 KiB"):
        load_bundle(source)


def test_a_packed_bundle_that_is_spoilt_is_refused(make):
    packed = library.pack(make())
    for spoilt in (packed[:-100], packed[:5000] + b"x" + packed[5001:], b"", b"no zip"):
        with pytest.raises(UserError, match="sent is no model or is damaged"):
            unpack_bundle(spoilt, "sent")


def test_the_folder_is_the_platform_s_for_a_user_s_data(monkeypatch, tmp_path):
    for name in (library.VARIABLE, "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    places = {"win32": ("AppData", "Local"), "darwin": ("Library", "Application Support")}
    place = places.get(sys.platform, (".local", "share"))
    if sys.platform == "win32":
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path.joinpath(*place)))
    assert library.models_folder() == tmp_path.joinpath(*place, "DinoUNet", "Models")
    monkeypatch.setenv(library.VARIABLE, "~/elsewhere")
    assert library.models_folder() == tmp_path / "elsewhere"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs permissions that bind the user")
def test_a_folder_that_cannot_be_read_or_written_is_told(folder, make):
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write"):
        library.add(make())
    folder.chmod(0)
    assert "cannot read" in own()[0].problem
    folder.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_told(folder, make):
    folder.write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        library.add(make())
    assert "cannot read" in own()[0].problem


def test_a_killed_copy_leaves_nothing_that_is_listed_and_is_cleared_a_day_later(folder, make):
    left = folder / ".partial-left"
    left.mkdir(parents=True)
    assert own() == []
    library.add(make("a"))
    assert left.exists()  # another process may be at it
    os.utime(left, (time.time() - 90_000,) * 2)
    library.add(make("b"))
    assert not left.exists()


def test_two_processes_that_add_at_the_same_time_do_not_disturb_each_other(folder, make, tmp_path):
    sources = [make(f"model {number}", f"source-{number}") for number in range(3)]
    code = "import sys; from DinoUNetCore.weights import library; library.add(sys.argv[1])"
    root = str(Path(__file__).resolve().parents[3])
    running = [subprocess.Popen([sys.executable, "-c", code, str(source)], cwd=root) for source in sources]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert [(entry.name, entry.problem) for entry in own()] == [(f"model {number}", None) for number in range(3)]
    assert not list(folder.glob(".partial*"))

"""The store of backbones: what travels with a bundle is kept once, whole and checked, or not at all."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from random_bundle import make_bundle
from travelling import LICENSE, TINY, make_backbone_folder, make_travelling, write_record, zipped

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store, library
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.tensors import tensors_sha256

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return make_travelling(tmp_path_factory.mktemp("saved") / "bundle")


@pytest.fixture
def travelling(saved, tmp_path) -> Path:
    """A copy of the bundle with its backbone, to be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "travelling"))


def sha256_named(bundle) -> str:
    return json.loads((bundle / "config.json").read_text(encoding="utf-8"))["backbone"]["sha256"]


def rename(bundle, name):
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    (bundle / "config.json").write_text(json.dumps(config | {"name": name}), encoding="utf-8")


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_bundle_s_backbone_goes_into_the_store_and_the_model_finds_it_there(folder, travelling, as_zip):
    entry = library.add(zipped(travelling) if as_zip else travelling)
    sha256 = sha256_named(travelling)
    kept = backbone_store.find(sha256)
    assert kept == folder / ".backbones" / sha256 == backbone_store.find_named(TINY.timm_model)
    assert files_below(kept) == ["LICENSE.md", "backbone.json", "model.safetensors"]
    assert (kept / "LICENSE.md").read_text(encoding="utf-8") == LICENSE
    assert files_below(entry.path) == ["README.md", "config.json", "model.safetensors"]
    (one,) = backbone_store.entries()
    assert (one.sha256, one.variant, one.timm_model, one.problem) == (sha256, "small", TINY.timm_model, None)
    assert one.size == sum(path.stat().st_size for path in kept.iterdir())
    assert [entry.name for entry in library.list_entries()] == ["phantom-tiny", "knee"]

    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_bundle(entry.path).build_network()(x), make_bundle(variant=TINY).build_network()(x))


def test_models_with_the_same_backbone_share_it(folder, travelling):
    library.add(travelling)
    kept = backbone_store.find(sha256_named(travelling)) / "model.safetensors"
    before = kept.stat()
    rename(travelling, "hip")
    library.add(travelling)
    assert kept.stat().st_ino == before.st_ino and kept.stat().st_mtime_ns == before.st_mtime_ns
    assert len(backbone_store.entries()) == 1
    library.remove("knee")
    assert backbone_store.find(sha256_named(travelling))


def test_two_processes_that_bring_the_same_backbone_do_not_disturb_each_other(folder, travelling, tmp_path):
    sources = []
    for number in range(3):
        sources.append(shutil.copytree(travelling, tmp_path / f"source-{number}"))
        rename(sources[-1], f"model {number}")
    code = "import sys; from DinoUNetCore.weights import library; library.add(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", code, str(source)], cwd=ROOT) for source in sources]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert len(library.list_entries()) == 4 and len(backbone_store.entries()) == 1
    assert not list(folder.glob(".partial*"))


def test_processes_that_add_the_same_zip_at_once_all_succeed_and_lose_nothing(folder, travelling, tmp_path):
    source = zipped(travelling)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from DinoUNetCore.weights import library\n"
        "Path(sys.argv[2]).touch()\n"
        "while not Path(sys.argv[3]).exists():\n"
        "    time.sleep(0.001)\n"
        "library.add(sys.argv[1])\n"
    )
    ready = [tmp_path / f"ready-{number}" for number in range(4)]
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(source), str(one), str(tmp_path / "go")], cwd=ROOT)
        for one in ready
    ]
    deadline = time.monotonic() + 30
    while not all(one.exists() for one in ready) and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [process.wait(30) for process in running] == [0, 0, 0, 0]
    load_bundle("knee").build_network()
    assert backbone_store.find(sha256_named(travelling)) and not list(folder.glob(".partial*"))


def test_what_is_sent_to_an_engine_leaves_the_backbone_out(folder, travelling, tmp_path):
    (tmp_path / "sent.zip").write_bytes(library.pack(travelling))
    library.add(tmp_path / "sent.zip")
    assert backbone_store.entries() == []


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def write_json(backbone, **changes):
    record = json.loads((backbone / "backbone.json").read_text(encoding="utf-8"))
    (backbone / "backbone.json").write_text(json.dumps(record | changes), encoding="utf-8")


def swap(backbone, announced):
    """Another backbone's weights, and a record that fits them but for the SHA-256 that it announces."""
    shutil.rmtree(backbone)
    make_backbone_folder(backbone, make_bundle(seed=1, variant=TINY))
    if announced:
        write_json(backbone, sha256=announced)


def pickled(backbone):
    """Weights that run code when they are unpickled, with a record that fits."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (backbone.parents[1] / "executed",))

    torch.save({"cls_token": Evil()}, backbone / "model.safetensors")
    write_record(backbone, sha256_named(backbone.parent))


WEIGHTS, FILE = "model.safetensors", {"sha256": "0" * 64, "bytes": 1}
DAMAGE = {
    "no record": (lambda b: (b / "backbone.json").unlink(), "has no backbone.json"),
    "no JSON": (lambda b: (b / "backbone.json").write_bytes(b"{"), "backbone.json cannot be read"),
    "no text": (lambda b: (b / "backbone.json").write_bytes(b"\xff"), "backbone.json cannot be read"),
    "deep JSON": (lambda b: (b / "backbone.json").write_bytes(b"[" * 100_000), "backbone.json cannot be read"),
    "large JSON": (lambda b: (b / "backbone.json").write_bytes(b" " * (1 << 20)), "backbone.json cannot be read"),
    "version": (lambda b: write_json(b, format_version=2), "format version 2"),
    "variant": (lambda b: write_json(b, variant=3), "misstates variant"),
    "no weights": (lambda b: write_json(b, files={"LICENSE.md": FILE}), "misstates files"),
    "other place": (lambda b: write_json(b, files={"../model.safetensors": FILE}), "misstates files"),
    "other file": (lambda b: write_json(b, files={WEIGHTS: FILE, "a.py": FILE}), "misstates files"),
    "size": (lambda b: write_json(b, files={WEIGHTS: FILE | {"bytes": "1"}}), "misstates bytes"),
    "no SHA-256": (lambda b: write_json(b, files={WEIGHTS: FILE | {"sha256": "x"}}), "misstates sha256"),
    "missing weights": (lambda b: (b / "model.safetensors").unlink(), "lacks model.safetensors"),
    "missing licence": (lambda b: (b / "LICENSE.md").unlink(), "lacks LICENSE.md"),
    "changed weights": (lambda b: flip(b / "model.safetensors"), "model.safetensors has another SHA-256"),
    "changed licence": (lambda b: flip(b / "LICENSE.md"), "LICENSE.md has another SHA-256"),
    "cut weights": (lambda b: cut(b / "model.safetensors"), "bytes; get it again"),
    "another backbone": (lambda b: swap(b, None), r"in it \(vit_small\S+, SHA-256 \w{12}\.\.\.\) is not the one that"),
    "another name": (lambda b: write_json(b, timm_model="vit_x"), "vit_x, SHA-256 .* is not the one that its config"),
    "another one in disguise": (lambda b: swap(b, sha256_named(b.parent)), "does not hold the weights of vit_small"),
    "pickled object": (pickled, "model.safetensors is no file of tensors"),
}


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_backbone_is_refused_in_one_sentence_and_nothing_is_kept(folder, travelling, damage, as_zip):
    spoil, reason = DAMAGE[damage]
    spoil(travelling / "backbone")
    source = zipped(travelling) if as_zip else travelling
    with pytest.raises(UserError, match=reason) as caught:
        library.add(source)
    assert str(source) in str(caught.value) and str(caught.value).count("\n") == 0
    assert files_below(folder) == [] and len(library.list_entries()) == 1 and backbone_store.entries() == []
    assert not (travelling.parent / "executed").exists()


def test_a_model_that_cannot_be_put_in_place_leaves_a_whole_backbone_at_most(folder, travelling):
    folder.mkdir()
    (folder / "knee").write_text("a file is in the way", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        library.add(travelling)
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == ["knee"]
    assert not list(folder.glob(".partial*"))
    assert [entry.problem for entry in backbone_store.entries()] == [None]
    (folder / "knee").unlink()
    library.add(travelling)


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on a file's size is POSIX's")
def test_a_full_disk_is_told_in_one_sentence_and_nothing_is_kept(folder, travelling):
    weights = travelling / "backbone" / "model.safetensors"
    tensors = safetensors.torch.load_file(weights) | {"rope_embed.periods": torch.ones(1 << 20)}
    safetensors.torch.save_file(tensors, weights)
    write_record(travelling / "backbone", sha256_named(travelling))
    code = (
        "import resource, sys\n"
        "from DinoUNetCore.command_line import run\n"
        "from DinoUNetCore.weights import library\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, 1 << 21))\n"
        "run(lambda: library.add(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, travelling]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write the backbone of ") and result.stderr.count("\n") == 1
    assert "check the folder, its permissions and the free space" in result.stderr
    assert files_below(folder) == []
    assert library.add(travelling)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_may_be_kept_in_half_precision(folder, tmp_path, dtype):
    backbone = make_backbone_folder(tmp_path / "backbone", make_bundle(variant=TINY), dtype)
    tensors = safetensors.torch.load_file(backbone / "model.safetensors")
    tensors.pop("rope_embed.periods")
    folder.mkdir()
    shutil.copytree(backbone, folder / ".partial-x" / "backbone")
    stored = backbone_store.put(folder / ".partial-x" / "backbone")
    assert stored.sha256 == tensors_sha256(tensors) and backbone_store.find(stored.sha256) == stored.path


def test_sharded_weights_are_kept_with_their_index(folder, travelling):
    backbone = travelling / "backbone"
    tensors = safetensors.torch.load_file(backbone / "model.safetensors")
    (backbone / "model.safetensors").unlink()
    names, places = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in part}, backbone / file)
        places.update(dict.fromkeys(part, file))
    index = json.dumps({"metadata": {}, "weight_map": places})
    (backbone / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    write_record(backbone, sha256_named(travelling))
    load_bundle(library.add(travelling).path).build_network()


def test_a_removed_backbone_is_gone_and_tells_what_it_freed(folder, travelling):
    library.add(travelling)
    sha256 = sha256_named(travelling)
    (one,) = backbone_store.entries()
    assert backbone_store.remove(sha256) == one.size
    assert backbone_store.entries() == [] and backbone_store.find(sha256) is None
    assert backbone_store.find_named(TINY.timm_model) is None
    with pytest.raises(UserError, match=f"the backbone {sha256} is not in"):
        backbone_store.remove(sha256)


def test_a_backbone_that_lost_a_part_is_listed_as_damaged_not_found_and_replaced(folder, travelling):
    library.add(travelling)
    sha256 = sha256_named(travelling)
    cut(folder / ".backbones" / sha256 / "model.safetensors")
    (one,) = backbone_store.entries()
    assert "damaged: model.safetensors has" in one.problem and backbone_store.find(sha256) is None
    library.add(travelling)
    assert backbone_store.find(sha256) and backbone_store.entries()[0].problem is None


def spoilt_copy(backbone, target, **changes) -> Path:
    """A copy of a backbone folder in a workshop, with another record."""
    shutil.copytree(backbone, target)
    write_json(target, **changes)
    return target


def test_a_licence_and_a_name_that_come_later_are_added_to_the_same_weights(folder, travelling, tmp_path):
    record = json.loads((travelling / "backbone" / "backbone.json").read_text(encoding="utf-8"))
    bare = {name: file for name, file in record["files"].items() if name != "LICENSE.md"}
    first = spoilt_copy(travelling / "backbone", folder / ".partial-a" / "backbone", files=bare, timm_model=None)
    (first / "LICENSE.md").unlink()
    stored = backbone_store.put(first)
    assert (stored.timm_model, files_below(stored.path)) == (None, ["backbone.json", "model.safetensors"])
    assert backbone_store.find_named(TINY.timm_model) is None
    library.add(travelling)
    (one,) = backbone_store.entries()
    assert (one.timm_model, one.problem) == (TINY.timm_model, None)
    assert (one.path / "LICENSE.md").read_text(encoding="utf-8") == LICENSE
    assert json.loads((one.path / "backbone.json").read_text(encoding="utf-8")) == record

    other = spoilt_copy(travelling / "backbone", folder / ".partial-b" / "backbone", timm_model="vit_other")
    assert backbone_store.put(other).timm_model == TINY.timm_model  # what is known stays


def test_a_damaged_licence_is_not_added_later(folder, travelling):
    record = json.loads((travelling / "backbone" / "backbone.json").read_text(encoding="utf-8"))
    bare = {name: file for name, file in record["files"].items() if name != "LICENSE.md"}
    stored = backbone_store.put(spoilt_copy(travelling / "backbone", folder / ".partial-a" / "backbone", files=bare))
    (stored.path / "LICENSE.md").unlink()
    flip(travelling / "backbone" / "LICENSE.md")
    with pytest.raises(UserError, match=r"LICENSE\.md has another SHA-256"):
        library.add(travelling)
    assert files_below(stored.path) == ["backbone.json", "model.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_file_that_vanishes_does_not_end_the_list(folder, travelling):
    library.add(travelling)
    (one,) = backbone_store.entries()
    (one.path / "LICENSE.md").unlink()
    (one.path / "LICENSE.md").symlink_to(folder / "gone")
    other = folder / ".backbones" / ("0" * 64)
    other.symlink_to(folder / "gone", target_is_directory=True)
    (left,) = backbone_store.entries()
    assert "LICENSE.md cannot be read" in left.problem


@pytest.mark.parametrize("sha256", ["", "..", "../.backbones", "0" * 63, "G" * 64, None, "0" * 64])
def test_what_is_no_sha256_of_a_stored_backbone_is_not_found(folder, travelling, sha256):
    library.add(travelling)
    assert backbone_store.find(sha256) is None

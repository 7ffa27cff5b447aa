"""`models remove` and `models verify`."""

import hashlib
import sys

import pytest
from models_command import flip, one_error, put_into_cache
from travelling import TINY

from DinoUNetCore.model_list import bytes_in_words
from DinoUNetCore.weights import backbone_store, library


def test_a_removed_model_says_what_was_freed_and_that_its_backbone_stays(call, travelling):
    size = bytes_in_words(sum(p.stat().st_size for p in library.add(travelling).path.iterdir()))
    status, out, _ = call("remove", "knee")
    first, second = out.splitlines()
    assert status == 0 and first == f"the model knee is removed: {size} are free again."
    assert second.startswith(f"its backbone {TINY.timm_model} (") and "stays" in second
    assert [entry.name for entry in library.list_entries()] == ["phantom-tiny"] and len(backbone_store.entries()) == 1


@pytest.mark.parametrize("name", [TINY.timm_model, "small", "SHA-256"])
def test_a_backbone_is_removed_by_any_of_its_names_and_who_needs_it_is_told(call, travelling, name):
    library.add(travelling)
    name = backbone_store.entries()[0].sha256[:12] if name == "SHA-256" else name
    status, out, _ = call("remove", name)
    assert status == 0 and f"the backbone {TINY.timm_model} is removed from the library: " in out
    assert "models that need it: knee." in out and backbone_store.entries() == []


def test_a_backbone_is_removed_from_the_hub_s_cache_too(call, tmp_path):
    places = [put_into_cache(tmp_path, f"vit_{one}_patch16_dinov3_qkvb.lvd1689m") for one in ("base", "small_plus")]
    status, out, _ = call("remove", "base")
    assert status == 0 and "is removed from the hub's cache: 2.5 MB are free again." in out
    assert [place.exists() for place in places] == [False, True]


def test_names_that_fit_several_or_nothing_remove_nothing(call, tmp_path):
    places = [put_into_cache(tmp_path, f"vit_large_patch16_dinov3_qkvb.{one}") for one in ("lvd1689m", "sat493m")]
    one_error(call("remove", "large"), "several backbones", "lvd1689m", "sat493m")
    one_error(call("remove", "nothing"), "neither a model nor a backbone nothing")
    one_error(call("remove", "phantom-tiny"), "comes with the program")
    assert all(place.exists() for place in places)


# verify


def test_what_is_sound_is_verified_in_a_line_each(call, travelling):
    library.add(travelling)
    status, out, error = call("verify")
    assert (status, error) == (0, "")
    titles = ["the model phantom-tiny", "the model knee", f"the backbone {TINY.timm_model}"]
    assert out.splitlines() == [f"{title} is sound." for title in titles]
    assert call("verify", "small")[1].splitlines() == [f"{titles[2]} is sound."]


def test_what_is_damaged_is_told_in_a_line_each_and_ends_with_2(call, folder, travelling):
    library.add(travelling)
    sha256 = backbone_store.entries()[0].sha256
    flip(folder / "knee" / "model.safetensors")
    flip(folder / ".backbones" / sha256 / "model.safetensors")
    status, out, error = call("verify")
    assert status == 2 and out == "the model phantom-tiny is sound.\n"
    lines = error.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "the SHA-256 of model.safetensors is not the one in config.json" in lines[0]
    assert sha256 in lines[1] and "model.safetensors has another SHA-256" in lines[1]
    assert lines[2] == "error: damaged: 2 of 3; remove or replace what the lines above name."
    one_error(call("verify", "knee"), "the SHA-256 of model.safetensors")
    one_error(call("verify", "elbow"), "neither a model nor a backbone elbow")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there, and the cache is kept without")
def test_what_is_in_the_hub_s_cache_is_compared_with_the_name_of_its_blob(call, tmp_path):
    place = put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    title = "the backbone vit_base_patch16_dinov3_qkvb.lvd1689m in the hub's cache"
    status, out, _ = call("verify", "base")
    assert status == 0 and out.startswith(f"{title} is complete, but was not compared: ")
    weights = place / "snapshots" / "abc" / "model.safetensors"
    blob = place / "blobs" / hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.replace(blob)
    weights.symlink_to(blob)
    assert call("verify", "base")[1] == f"{title} is sound.\n" and f"{title} is sound.\n" in call("verify")[1]
    flip(blob)
    one_error(call("verify", "base"), f"{title} is damaged", str(blob))
    put_into_cache(tmp_path, "vit_large_patch16_dinov3_qkvb.lvd1689m", complete=False)
    one_error(call("verify", "large"), "broke off")


# the authors' checkpoints, the hub, the licence

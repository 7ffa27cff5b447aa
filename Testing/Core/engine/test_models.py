"""The models of an engine: given through the pipe or kept in its library, known by what they are."""

import hashlib
import shutil
import time

import numpy as np
import pytest
import SimpleITK as sitk
from engine_client import describe, segment_fields

from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.volume import channel_arrays
from DinoUNetCore.weights import library
from DinoUNetCore.weights.bundle_reading import load_bundle


@pytest.fixture(scope="module")
def saved(random_bundle, tmp_path_factory):
    """Folders of four bundles that differ in their weights."""
    folder = tmp_path_factory.mktemp("bundles")
    for seed in range(4):
        random_bundle(seed=seed).save(folder / f"bundle-{seed}")
    return [folder / f"bundle-{seed}" for seed in range(4)]


@pytest.fixture(scope="module")
def picture():
    array = np.random.default_rng(0).normal(100, 20, (2, 40, 40)).astype(np.float32)
    return sitk.GetImageFromArray(array)


def sha256_of(bundle):
    return hashlib.sha256((bundle / "config.json").read_bytes()).hexdigest()


def put(engine, bundle, sha256=None, archive=None):
    archive = library.pack(bundle) if archive is None else archive
    identity = engine.request("models", action="put", sha256=sha256 or sha256_of(bundle), total_bytes=len(archive))
    engine.send_data(identity, archive, 300_000)
    return engine.answer(identity)


def names(engine):
    return [entry["name"] for entry in engine.ask("models", action="list").json["models"]]


@pytest.mark.usefixtures("one_thread")
def test_a_model_that_the_engine_lacks_is_told_put_and_used(engine, saved, picture):
    model = {"sha256": sha256_of(saved[0])}
    header, _ = describe(picture)
    identity = engine.request(**segment_fields([header], model))  # without its voxels: the answer comes before them
    answer = engine.answer(identity)
    assert answer.code == "unknown_model" and model["sha256"] in answer.message
    entry = put(engine, saved[0]).result["model"]
    assert (entry["sha256"], entry["source"], entry["path"]) == (model["sha256"], "put", None)
    assert entry["config"] == load_bundle(saved[0]).config
    labels = engine.segment([describe(picture)], model).labels
    np.testing.assert_array_equal(labels, channel_arrays(Segmenter(load_bundle(saved[0]), "cpu").segment(picture))[0])
    assert names(engine) == ["phantom-tiny", "random"]
    assert engine.ask("unload").result
    assert names(engine) == ["phantom-tiny"]


def test_a_put_model_is_asked_for_by_its_hash_not_by_its_name(engine, saved, picture):
    put(engine, saved[0])
    assert engine.segment([describe(picture)], {"name": "random"}).code == "unknown_model"


def test_only_the_last_put_models_are_kept(engine, saved, picture):
    for bundle in saved:
        put(engine, bundle)
    codes = [engine.segment([describe(picture)], {"sha256": sha256_of(bundle)}).code for bundle in saved]
    assert codes == ["unknown_model", "unknown_model", None, None]


def test_spoilt_and_mistaken_models_are_refused(engine, saved):
    packed = library.pack(saved[0])
    for archive in (b"no zip", packed[:-200], packed[:9000] + b"xyz" + packed[9003:]):
        answer = put(engine, saved[0], archive=archive)
        assert answer.code == "bad_input" and "damaged" in answer.message
    answer = put(engine, saved[0], sha256="ab" * 32)
    assert answer.code == "bad_input" and "another one" in answer.message
    assert "Traceback" not in engine.log


def test_the_library_of_the_engine_s_machine_is_used_through_the_pipe(start_engine, saved, picture, tmp_path):
    engine = start_engine()
    entry = engine.ask("models", action="add", source=str(saved[1])).result["model"]
    assert (entry["name"], entry["source"], entry["sha256"]) == ("random", "library", sha256_of(saved[1]))
    assert names(engine) == ["phantom-tiny", "random"]
    by_name = engine.segment([describe(picture)], {"name": "random"})
    by_hash = engine.segment([describe(picture)], {"sha256": sha256_of(saved[1])})
    assert by_name.data == by_hash.data
    again = engine.ask("models", action="add", source=str(saved[2]))
    assert again.code == "bad_input" and "already" in again.message
    assert engine.ask("models", action="add", source=str(saved[2]), overwrite=True).result["model"]["name"] == "random"
    assert engine.segment([describe(picture)], {"name": "random"}).data != by_name.data
    assert engine.ask("models", action="remove", name="random").result
    assert names(engine) == ["phantom-tiny"]
    assert engine.segment([describe(picture)], {"name": "random"}).code == "unknown_model"
    assert list((tmp_path / "models").iterdir()) == []


def test_a_zip_in_the_library_s_folder_is_used_as_it_is(start_engine, saved, picture, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.make_archive(str(tmp_path / "models" / "by hand"), "zip", saved[0].parent, saved[0].name)  # in its folder
    engine = start_engine()
    assert engine.segment([describe(picture)], {"name": "by hand"}).result


def test_a_damaged_model_is_listed_with_its_reason_and_refused(start_engine, saved, picture, tmp_path):
    shutil.copytree(saved[0], tmp_path / "models" / "spoilt")
    (tmp_path / "models" / "spoilt" / "config.json").write_bytes(b"{")
    engine = start_engine()
    entry = engine.ask("models", action="list").json["models"][1]
    assert (entry["name"], entry["sha256"], entry["config"]) == ("spoilt", None, None)
    assert "config.json cannot be read" in entry["problem"]
    answer = engine.segment([describe(picture)], {"name": "spoilt"})
    assert answer.code == "bad_input" and answer.message == entry["problem"]


def test_a_model_of_the_hugging_face_hub_comes_into_the_library(start_engine, saved, tmp_path):
    cached = tmp_path / "hub" / "models--some--model"  # as the hub's client keeps what it has downloaded
    shutil.copytree(saved[3], cached / "snapshots" / "0123456789012345678901234567890123456789")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123456789012345678901234567890123456789", encoding="utf-8")
    engine = start_engine(environment={"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"})
    entry = engine.ask("models", action="fetch", source="hf:some/model").result["model"]
    assert (entry["source"], entry["sha256"]) == ("library", sha256_of(saved[3]))
    answer = engine.ask("models", action="fetch", source="hf:some/other")
    assert answer.code == "bad_input" and "hf:some/other cannot be downloaded" in answer.message


def test_a_model_that_is_ready_begins_at_once(engine, phantom):
    tiny = {"name": "phantom-tiny"}
    engine.segment([describe(phantom)], tiny)
    started = time.monotonic()
    engine.start_segmentation([describe(phantom)], tiny)
    first = engine.next().fields
    assert (first["event"], first["stage"]) == ("progress", "preparing")
    assert time.monotonic() - started < 1
    engine.answer(first["id"])

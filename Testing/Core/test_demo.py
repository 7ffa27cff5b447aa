import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore import demo
from DinoUNetCore.dataset.phantom import PHANTOM_LABELS, make_phantom
from DinoUNetCore.errors import UserError
from DinoUNetCore.resources import resources_folder

ORGANS = {name: value for name, value in PHANTOM_LABELS.items() if value}
FILES = {"image.nii.gz", "segmentation.seg.nrrd", "overlay.png", "demo.json"}


@pytest.fixture(scope="module")
def random_model(random_bundle, tmp_path_factory) -> Path:
    """A bundle that knows the phantom's organs by name and has learned nothing."""
    folder = tmp_path_factory.mktemp("models") / "random"
    ct = {"scheme": "ct", "low": -900.0, "high": 300.0, "mean": 0.0, "std": 300.0}
    random_bundle(
        labels=ORGANS, channels=("CT",), spacing=[4.0, 4.0], normalization=[ct], intensity_range=[[-900.0, 300.0]]
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def phantom() -> tuple[sitk.Image, sitk.Image]:
    return make_phantom(5)


@pytest.fixture(scope="module")
def finished(random_model, tmp_path_factory) -> Path:
    """The folder of a demo that has run."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    demo.main(["-o", str(folder), "--seed", "5", "--model", str(random_model), "--device", "cpu"])
    return folder


def test_the_demo_writes_its_files_and_nothing_else(finished):
    assert {path.name for path in finished.iterdir()} == FILES


def test_the_image_is_the_phantom_of_the_seed(finished, phantom):
    image = sitk.ReadImage(str(finished / "image.nii.gz"))
    assert np.array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(phantom[0]))
    assert image.GetSpacing() == pytest.approx(phantom[0].GetSpacing())


def test_the_segmentation_lies_on_the_image_and_names_the_organs(finished):
    image, found = (sitk.ReadImage(str(finished / name)) for name in ("image.nii.gz", "segmentation.seg.nrrd"))
    assert found.GetSize() == image.GetSize()
    assert found.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-3)
    assert found.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-5)
    names = {found.GetMetaData(key) for key in found.GetMetaDataKeys() if key.endswith("_Name")}
    assert set(ORGANS) <= names


def test_the_numbers_are_those_of_the_files(finished, phantom):
    record = json.loads((finished / "demo.json").read_text(encoding="utf-8"))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(finished / "segmentation.seg.nrrd")))
    truth = sitk.GetArrayFromImage(phantom[1])
    for name, value in ORGANS.items():
        expected = 2 * ((found == value) & (truth == value)).sum() / ((found == value).sum() + (truth == value).sum())
        assert record["labels"][name]["dice"] == pytest.approx(expected)
    assert record["mean_dice"] == pytest.approx(np.mean([row["dice"] for row in record["labels"].values()]))
    assert record["seed"] == 5


def test_the_picture_has_three_rows_of_three(finished):
    picture = sitk.ReadImage(str(finished / "overlay.png"))
    assert picture.GetWidth() > 1000 and picture.GetHeight() > 1000


def test_the_table_names_every_organ_and_the_mean():
    row = {"dice": 0.9, "hd95": 3.25, "ml_drawn": 100.0, "ml_found": 90.4}
    missed = {"dice": None, "hd95": None, "ml_drawn": 0.0, "ml_found": 0.0}
    lines = demo._table({"kidney_left": row, "heart": missed}, 0.9).splitlines()
    assert lines[1].split() == ["kidney", "left", "0.900", "3.2", "100", "90"]
    assert lines[2].split() == ["heart", "-", "-", "0", "0"]
    assert lines[3].split() == ["mean", "0.900"]
    assert len({len(line) for line in lines[:3]}) == 1  # columns stand below each other


def test_its_own_files_may_be_replaced(finished):
    demo.Results(finished)


def test_a_demo_that_was_ended_while_writing_may_be_repeated(tmp_path):
    results = demo.Results(tmp_path)
    results.write(demo.IMAGE, lambda path: path.write_text("an image"))
    again = demo.Results(tmp_path)
    again.write(demo.IMAGE, lambda path: path.write_text("another image"))
    assert (tmp_path / demo.IMAGE).read_text() == "another image"


@pytest.mark.parametrize("name", [demo.IMAGE, demo.SEGMENTATION, demo.PICTURE])
def test_a_file_of_someone_else_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} exists and is not as the demo wrote it"):
        demo.main(["-o", str(tmp_path)])
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "mine"


def test_a_result_that_was_edited_since_is_never_replaced(tmp_path):
    results = demo.Results(tmp_path)
    results.write(demo.SEGMENTATION, lambda path: path.write_text("found"))
    (tmp_path / demo.SEGMENTATION).write_text("corrected by hand")
    with pytest.raises(UserError, match="segmentation"):
        demo.Results(tmp_path)


def test_a_demo_json_of_someone_else_is_never_replaced(tmp_path):
    (tmp_path / "demo.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"demo\.json was not written by the demo"):
        demo.main(["-o", str(tmp_path)])


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    demo.Results(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        demo.main(["-o", str(tmp_path / "file")])


def test_a_model_that_does_not_exist_is_told_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="no-such-model"):
        demo.main(["-o", str(tmp_path / "out"), "--model", "no-such-model"])
    assert not (tmp_path / "out").exists()


def test_a_model_for_something_else_is_refused(random_bundle, tmp_path):
    random_bundle(labels={"Anterior": 1, "Posterior": 2}).save(tmp_path / "bundle")
    with pytest.raises(UserError, match="knows none of the phantom's organs"):
        demo.main(["-o", str(tmp_path / "out"), "--model", str(tmp_path / "bundle")])


def test_the_seed_is_not_below_0(capsys):
    with pytest.raises(SystemExit) as caught:
        demo.main(["--seed", "-1"])
    assert caught.value.code == 2
    assert "error: argument --seed: -1 is below 0" in capsys.readouterr().err


@pytest.mark.skipif(
    not (resources_folder() / "Models" / demo.MODEL / "config.json").is_file(),
    reason="the embedded model is not trained yet",
)
def test_the_embedded_model_segments_a_patient_it_has_never_seen(tmp_path, capsys):
    demo.main(["-o", str(tmp_path / "out"), "--seed", "2001"])
    record = json.loads((tmp_path / "out" / "demo.json").read_text(encoding="utf-8"))
    assert record["mean_dice"] > 0.8
    assert min(row["dice"] for row in record["labels"].values()) > 0.5
    assert "kidney left" in capsys.readouterr().out

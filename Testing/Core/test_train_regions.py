"""Regions and ignored voxels from a raw data set through train, segment and evaluate."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from region_dataset import IGNORED_COLUMNS, write_region_dataset

from DinoUNetCore import load_bundle
from DinoUNetCore.evaluate import evaluate
from DinoUNetCore.plan import main as plan
from DinoUNetCore.segment import main as segment
from DinoUNetCore.train import main as train

QUICK = ["--variant", "tiny", "--iterations", "12", "--batch-size", "4", "--patch-size", "64", "64", "--threads", "1"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_region_dataset(tmp_path_factory.mktemp("data") / "cores", cases=4)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train([str(dataset), "-o", str(folder), *QUICK, "--epochs", "3"])
    return folder


@pytest.fixture(scope="module")
def metrics(run):
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_regions_are_learnt_and_measured_by_name(run, metrics):
    assert list(metrics["labels"]) == ["whole", "core"]
    assert metrics["labels"]["whole"]["dice"] > 0.7  # bright things on a dark ground: a few batches teach that
    bundle = load_bundle(run / "bundle")
    assert bundle.regions == [[1, 2], [2]] and bundle.num_classes == 2
    with open(run / "log.csv", encoding="utf-8", newline="") as file:
        assert {"dice_whole", "dice_core"} <= set(next(csv.reader(file)))


def test_the_measured_segmentation_is_that_of_the_commands(run, dataset, metrics, tmp_path):
    for name in metrics["cases"]:
        image = dataset / "imagesTr" / f"{name}_0000.nii.gz"
        segment(
            ["-m", str(run / "bundle"), "-i", str(image), "-o", str(tmp_path / f"{name}.nii.gz"), "--device", "cpu"]
        )
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")))
        assert set(np.unique(labels)) <= {0, 1, 2}
    summary = evaluate(tmp_path, dataset / "labelsTr", allow_missing=True)
    for name, row in metrics["labels"].items():
        assert summary["labels"][name]["dice"] == pytest.approx(row["dice"], abs=1e-3)


def test_what_stands_in_ignored_voxels_does_not_count(run, dataset, metrics, tmp_path):
    (name, *_) = metrics["cases"]
    labels = sitk.ReadImage(str(dataset / "labelsTr" / f"{name}.nii.gz"))
    array = sitk.GetArrayFromImage(labels)
    array[array == 3] = 0
    array[..., :IGNORED_COLUMNS] = 2
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "perfect.nii.gz"))
    changed = sitk.ReadImage(str(tmp_path / "perfect.nii.gz"))
    changed.CopyInformation(labels)
    sitk.WriteImage(changed, str(tmp_path / f"{name}.nii.gz"))
    (tmp_path / "perfect.nii.gz").unlink()
    summary = evaluate(tmp_path, dataset / "labelsTr", allow_missing=True)
    assert summary["mean"]["dice"] == 1 and summary["mean"]["hd95"] == 0


def test_the_plan_shows_regions_and_their_shares(dataset, tmp_path, capsys):
    plan([str(dataset), "-o", str(tmp_path / "look"), "--variant", "tiny"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    shares = {words[0]: float(words[-2]) for words in lines if words and words[0] in ("whole", "core")}
    voxels = {"whole": 0, "core": 0}
    for number in range(4):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / f"case_{number}.nii.gz")))
        voxels["whole"] += np.isin(array, (1, 2)).mean() / 4
        voxels["core"] += (array == 2).mean() / 4
    assert shares == pytest.approx({name: 100 * share for name, share in voxels.items()}, rel=0.06)
    assert (tmp_path / "look" / "samples.png").stat().st_size > 1000

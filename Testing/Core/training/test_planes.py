"""Training on slices of several planes: from the command to a bundle that fuses them."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from small_dataset import write_small_dataset

from DinoUNetCore import load_bundle
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.plan import main as plan
from DinoUNetCore.train import main as train

QUICK = ["--variant", "tiny", "--planes", "coronal,axial", "--patch-size", "64", "64", "--batch-size", "2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls", cases=3, size=(20, 40, 48))


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    options = ["--epochs", "1", "--iterations", "4", "--device", "cpu", "--threads", "1", "--keep-prepared"]
    train([str(dataset), "-o", str(run), *QUICK, "--spacing", "1", "1", *options])
    return run


def test_the_bundle_lists_the_planes_and_fuses_them(dataset, trained):
    assert Plan.load(trained / "plan.json").planes == ["coronal", "axial"]
    bundle = load_bundle(trained / "bundle")
    assert (bundle.planes, bundle.plane, bundle.spacing) == (["coronal", "axial"], "coronal", (1.0, 1.0))
    assert "slices: coronal and axial" in bundle.card
    image = sitk.ReadImage(str(dataset / "imagesTr" / "case_0_0000.nii.gz"))
    calls = []
    labels = Segmenter(bundle, "cpu").segment(image, lambda *progress: calls.append(progress))
    assert calls[-1] == (40 + 20, 40 + 20) and labels.GetSize() == image.GetSize()


def test_all_cases_were_prepared_in_both_planes_and_measured_once(trained):
    prepared = {path.name for path in (trained / "prepared").glob("*-images.npy")}
    assert prepared == {f"case_{number}-{name}-images.npy" for number in range(3) for name in ("axial", "coronal")}
    assert len(json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["cases"]) == 1


def test_a_resumed_run_keeps_its_planes(dataset, trained):
    with pytest.raises(UserError, match=r"--planes was .*cannot become"):
        train([str(dataset), "-o", str(trained), "--resume", "--planes", "axial,sagittal"])


def test_the_samples_show_every_plane(dataset, tmp_path, capsys):
    def height(name, *options):
        plan([str(dataset), "-o", str(tmp_path / name), "--variant", "tiny", "--spacing", "1", "1", *options])
        return np.asarray(sitk.ReadImage(str(tmp_path / name / "samples.png")).GetSize())

    both = height("both", "--planes", "axial,sagittal")
    output = " ".join(capsys.readouterr().out.split())
    assert "planes axial, sagittal Axial and sagittal slices were asked for" in output
    one = height("one", "--plane", "axial")
    assert both[1] > 0.5 * one[1]
    assert (tmp_path / "both" / "fingerprint.png").stat().st_size > 10_000


def test_planes_of_pictures_and_with_a_plan_are_refused(dataset, trained, tmp_path):
    pictures = write_small_dataset(tmp_path / "pictures", cases=2, size=(60, 62))
    with pytest.raises(UserError, match="the cases are pictures"):
        plan([str(pictures), "--variant", "tiny", "--planes", "axial,coronal"])
    with pytest.raises(UserError, match="--plane is decided by"):
        plan([str(dataset), "--plan", str(trained / "plan.json"), "--plane", "coronal"])
    with pytest.raises(UserError, match="--planes is decided by"):
        plan([str(dataset), "--plan", str(trained / "plan.json"), "--planes", "axial,coronal"])

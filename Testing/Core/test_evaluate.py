"""The evaluate command on real files: pairing, names, refusals, the table and the JSON."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.evaluate import evaluate, find_pairs, main, report
from DinoUNetCore.metrics import evaluate_case

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"background": 0, "liver": 1, "left kidney": 4}
SPACING = (0.8, 0.9, 3.0)  # I, J, K


def label_map(seed, shape=(6, 20, 24)):
    """A random placement of a liver and a kidney, KJI."""
    random = np.random.default_rng(seed)
    array = np.zeros(shape, np.uint8)
    for value, side in ((1, 10), (4, 5)):
        j, i = random.integers(1, 9, 2)
        array[1:5, j : j + side, i : i + side] = value
    return array


def write(array, path, spacing=SPACING, origin=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    if origin:
        image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def folders(tmp_path):
    """Four predictions (.nrrd) and labels (.nii.gz) of a data set with its dataset.json."""
    for seed in range(4):
        write(label_map(seed), tmp_path / "set" / "labelsTr" / f"case_{seed}.nii.gz")
        write(np.roll(label_map(seed), seed, axis=2), tmp_path / "out" / f"case_{seed}.nrrd")
    table = tmp_path / "set" / "dataset.json"
    table.write_text(json.dumps({"labels": LABELS}), encoding="utf-8")
    return tmp_path / "out", tmp_path / "set" / "labelsTr"


def command(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "DinoUNetCore.evaluate", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False, **options)


def test_folders_give_every_number_that_the_arrays_give(folders):
    summary = evaluate(*folders)
    for seed in range(4):
        reference = label_map(seed)
        expected = evaluate_case(np.roll(reference, seed, axis=2), reference, SPACING[::-1], LABELS)
        for name in ("liver", "left kidney"):
            assert summary["cases"][f"case_{seed}"][name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
    dice = [case["liver"]["dice"] for case in summary["cases"].values()]
    assert summary["labels"]["liver"]["dice"] == pytest.approx(np.mean(dice))
    assert summary["mean"]["dice"] < 1
    assert list(summary["labels"]) == ["liver", "left kidney"]


def test_a_shift_by_one_column_is_one_columns_spacing(folders):
    assert evaluate(*folders)["cases"]["case_1"]["liver"]["hd95"] == pytest.approx(0.8, rel=1e-5)


def test_the_command_prints_a_table_and_writes_json(folders, tmp_path):
    answer = command(*folders, "-o", tmp_path / "new" / "metrics.json")
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].split() == ["class", "cases", "Dice", "HD95", "mm", "ASD", "mm", "ASSD", "mm", "NSD"]
    assert lines[2].startswith("liver") and lines[3].startswith("left kidney") and lines[5].startswith("mean")
    worst = [line.split()[0] for line in lines if line.startswith("case_")]
    assert worst == ["case_3", "case_2", "case_1"]
    content = json.loads((tmp_path / "new" / "metrics.json").read_text(encoding="utf-8"))
    assert set(content) == {"unit", "mean", "labels", "cases", "nsd_tolerance"}
    assert content["unit"] == "mm"
    assert content["mean"]["hd95"] > 0
    assert content["cases"]["case_0"]["left kidney"]["dice"] == 1


def test_an_output_that_exists_is_kept_unless_told(folders, tmp_path):
    output = tmp_path / "metrics.json"
    output.write_text("mine", encoding="utf-8")
    answer = command(*folders, "-o", output)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and "metrics.json exists" in answer.stderr
    assert output.read_text(encoding="utf-8") == "mine"
    assert command(*folders, "-o", output, "--overwrite").returncode == 0
    assert json.loads(output.read_text(encoding="utf-8"))["mean"]


def test_two_files_make_a_pair_whatever_their_names(folders, tmp_path):
    prediction = write(label_map(3), tmp_path / "mine.seg.nrrd")
    summary = evaluate(prediction, folders[1] / "case_3.nii.gz")
    assert list(summary["cases"]) == ["case_3"]
    assert summary["mean"]["dice"] == 1
    assert "liver" in summary["labels"]


def test_a_file_finds_its_counterpart_in_a_folder(folders):
    predictions, labels = folders
    assert list(find_pairs(predictions / "case_2.nrrd", labels)) == ["case_2"]
    assert list(find_pairs(predictions, labels / "case_2.nii.gz")) == ["case_2"]


def test_endings_do_not_matter_and_other_files_are_passed_over(folders):
    predictions, labels = folders
    (predictions / "case_1.nrrd").unlink()
    write(label_map(1), predictions / "case_1.seg.nrrd")
    for name in ("case_1.ctbl", "log.csv", "._case_1.nrrd", "notes.json"):
        (predictions / name).write_text("", encoding="utf-8")
    assert list(find_pairs(predictions, labels)) == [f"case_{seed}" for seed in range(4)]


def test_two_predictions_of_one_case_are_refused(folders):
    write(label_map(1), folders[0] / "case_1.seg.nrrd")
    with pytest.raises(UserError, match=r"case_1\.nrrd and .*case_1\.seg\.nrrd have the same case name"):
        find_pairs(*folders)


def test_a_label_without_prediction_is_refused_unless_allowed(folders, capsys):
    (folders[0] / "case_1.nrrd").unlink()
    with pytest.raises(UserError, match=r"no prediction for 1 of the 4 .*\(case_1\).*--allow-missing"):
        evaluate(*folders)
    assert list(evaluate(*folders, allow_missing=True)["cases"]) == ["case_0", "case_2", "case_3"]
    assert "case_1" in capsys.readouterr().err


def test_a_prediction_without_label_is_named_and_left_out(folders, capsys):
    (folders[1] / "case_1.nii.gz").unlink()
    assert list(evaluate(*folders)["cases"]) == ["case_0", "case_2", "case_3"]
    assert "case_1" in capsys.readouterr().err


def test_folders_without_a_common_name_are_refused(folders, tmp_path):
    write(label_map(0), tmp_path / "other" / "patient.nrrd")
    with pytest.raises(UserError, match=r"patient against case_0, case_1, case_2, \.\.\."):
        evaluate(tmp_path / "other", folders[1])


def test_without_a_dataset_json_the_values_are_the_names(folders):
    (folders[1].parent / "dataset.json").unlink()
    array = label_map(2)
    array[0, 0, 0] = 10
    write(array, folders[1] / "case_2.nii.gz")
    summary = evaluate(*folders)
    assert list(summary["labels"]) == ["1", "4", "10"]
    assert summary["labels"]["10"]["missed"] == summary["labels"]["10"]["cases"] == 1
    assert summary["cases"]["case_0"]["10"]["dice"] is None
    assert [list(case) for case in summary["cases"].values()] == [["1", "4", "10"]] * 4


def test_another_dataset_json_may_be_named(folders, tmp_path):
    other = tmp_path / "names.json"
    other.write_text(json.dumps({"labels": {"background": 0, "Leber": 1, "Niere": 4}}), encoding="utf-8")
    assert list(evaluate(*folders, other)["labels"]) == ["Leber", "Niere"]


def test_a_data_set_of_regions_is_measured_by_regions_without_ignored_voxels(folders):
    table = {"labels": {"background": 0, "all": [1, 4], "left kidney": 4, "ignore": 9}, "regions_class_order": [1, 4]}
    (folders[1].parent / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    reference, prediction = label_map(1), np.roll(label_map(1), 1, axis=2)
    reference[:, :, 12:] = 9
    write(reference, folders[1] / "case_1.nii.gz")
    summary = evaluate(*folders)
    assert list(summary["labels"]) == ["all", "left kidney"]
    judged = reference != 9
    expected = evaluate_case((prediction > 0) * judged, (reference > 0) * judged, SPACING[::-1], {"all": 1})["all"]
    assert summary["cases"]["case_1"]["all"] == pytest.approx(expected, rel=1e-5)
    assert expected["dice"] < 1


@pytest.mark.parametrize("which", [0, 1])
def test_values_that_the_table_lacks_are_refused(folders, which):
    array = label_map(2)
    array[0, 0, :2] = 7, 9
    path = write(array, folders[which] / ("case_2.nrrd" if which == 0 else "case_2.nii.gz"))
    with pytest.raises(UserError) as error:
        evaluate(*folders)
    assert str(path) in str(error.value) and "7, 9" in str(error.value) and "dataset.json" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"), [({"spacing": (0.8, 0.9, 2.5)}, "spacings"), ({"origin": (0.0, 5.0, 0.0)}, "origins")]
)
def test_grids_that_differ_are_refused_with_both_names(folders, change, words):
    write(label_map(2), folders[0] / "case_2.nrrd", **change)
    with pytest.raises(UserError) as error:
        evaluate(*folders)
    message = str(error.value)
    assert str(folders[0] / "case_2.nrrd") in message and str(folders[1] / "case_2.nii.gz") in message
    assert words in message


def test_sizes_that_differ_are_refused(folders):
    write(label_map(2)[:, :, :-1], folders[0] / "case_2.nrrd")
    with pytest.raises(UserError, match="sizes differ"):
        evaluate(*folders)


@pytest.mark.parametrize("labels", [{"all": [1, 2]}, {}, None, {"a": 1, "b": 1}, {"a": "1"}, {"a": -1}])
def test_a_dataset_json_of_another_form_is_refused(folders, labels):
    (folders[1].parent / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset\.json"):
        evaluate(*folders)


@pytest.fixture
def discs():
    """Prediction and reference of the fixture "metrics_disc"; HD95 is 6.7082 pixels in 2D."""
    y, x = np.mgrid[:64, :64]
    prediction = ((y - 33) ** 2 + (x - 34) ** 2 < 169).astype(np.uint8)
    prediction[60, 60] = 1
    return prediction, ((y - 30) ** 2 + (x - 30) ** 2 < 225).astype(np.uint8)


@pytest.mark.parametrize(
    ("ending", "unit", "pixel"),
    [(".png", "pixel", 1), (".tif", "pixel", 1), (".mha", "mm", 0.5), (".nii.gz", "mm", 0.5)],
)
def test_2d_files_are_measured_in_2d_and_pictures_in_pixels(discs, ending, unit, pixel, tmp_path):
    names = (f"prediction{ending}", f"reference{ending}")
    files = [write(array, tmp_path / name, spacing=(0.5, 0.5)) for array, name in zip(discs, names, strict=True)]
    summary = evaluate(*files)
    assert summary["mean"]["hd95"] == pytest.approx(6.708203932499369 * pixel, rel=1e-6)
    assert summary["unit"] == unit and f"HD95 {unit}" in report(summary)


def test_pictures_and_files_with_a_spacing_are_not_averaged(discs, tmp_path):
    for name in ("a.png", "b.mha"):
        write(discs[1], tmp_path / "labels" / name)
        write(discs[0], tmp_path / "out" / name)
    with pytest.raises(UserError, match=r"a\.png is measured in pixels and .*b\.mha in mm"):
        evaluate(tmp_path / "out", tmp_path / "labels")


def test_labels_with_large_values_are_evaluated(folders):
    table = folders[1].parent / "dataset.json"
    table.write_text(json.dumps({"labels": LABELS | {"huge": 70_000}}), encoding="utf-8")
    array = label_map(2).astype(np.int32)
    array[0, 0, :5] = 70_000
    write(array, folders[0] / "case_2.nrrd")
    write(array, folders[1] / "case_2.nii.gz")
    assert evaluate(*folders)["cases"]["case_2"]["huge"]["dice"] == 1


def test_files_of_one_slice_are_measured_in_2d(discs, tmp_path):
    files = [write(array[None], tmp_path / f"{number}.nii.gz", (1, 1, 50)) for number, array in enumerate(discs)]
    assert evaluate(*files)["mean"]["hd95"] == pytest.approx(6.708203932499369)


def test_a_slice_in_a_3d_file_can_be_compared_with_a_2d_file(discs, tmp_path):
    prediction = write(discs[0][None], tmp_path / "a.seg.nrrd", (0.5, 0.5, 1), origin=(3, 4, 0))
    reference = write(discs[1], tmp_path / "a.nrrd", (0.5, 0.5), origin=(3, 4))
    assert evaluate(prediction, reference)["mean"]["hd95"] == pytest.approx(6.708203932499369 / 2)
    write(discs[1], tmp_path / "a.nrrd", (0.6, 0.5), origin=(3, 4))
    with pytest.raises(UserError, match="another grid"):
        evaluate(prediction, reference)


def test_pictures_need_the_same_size_only_and_a_labels_true_spacing_counts(discs, tmp_path):
    prediction = write(discs[0], tmp_path / "prediction.png", (0.25, 0.25))
    reference = write(discs[1], tmp_path / "reference.mha", (2, 2), origin=(3, 4))
    assert evaluate(prediction, reference)["mean"]["hd95"] == pytest.approx(2 * 6.708203932499369)
    write(discs[1][:-1], tmp_path / "reference.mha", (2, 2))
    with pytest.raises(UserError, match="sizes differ"):
        evaluate(prediction, reference)


def test_the_report_says_when_classes_are_missed(folders):
    array = label_map(1)
    array[array == 4] = 0
    write(array, folders[0] / "case_1.nrrd")
    text = report(evaluate(*folders))
    assert "missed altogether: 1 times" in text
    assert text.splitlines()[-4].split()[:2] == ["worst", "cases"]
    assert text.splitlines()[-3].split()[0] == "case_1"
    assert text.splitlines()[-3].endswith("left kidney  0.0000")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "nowhere"], "nowhere does not exist"),
        ([], "arguments are required"),
        ([".", ".", "--tolerance", "-1"], "--tolerance is -1"),
    ],
)
def test_mistakes_end_with_one_sentence_and_2(arguments, words, tmp_path):
    answer = command(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_empty_folders_and_damaged_files_are_named(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no label maps"):
        evaluate(tmp_path / "empty", folders[1])
    (folders[0] / "case_0.nrrd").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"case_0\.nrrd"):
        evaluate(*folders)


@pytest.mark.parametrize("library", ["scipy", "tqdm"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(folders, library):
    script = (
        f"import sys; sys.modules['{library}'] = None\n"
        "from DinoUNetCore.command_line import run\nfrom DinoUNetCore.evaluate import main\n"
        f"run(lambda: main({[str(folder) for folder in folders]!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {library}")
    assert 'python -m pip install "dinounet-slicer[train]"' in answer.stderr


def test_help_needs_no_heavy_library():
    script = (
        "import sys\n"
        "for name in ('scipy', 'torch', 'monai', 'SimpleITK', 'tqdm'): sys.modules[name] = None\n"
        "from DinoUNetCore.evaluate import main\nmain(['--help'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "PREDICTIONS" in answer.stdout
    assert time.monotonic() - started < 10


def test_real_label_maps_agree_with_themselves(shared):
    labels = shared / "data" / "Dataset004_Hippocampus" / "labelsTr"
    file = sorted(labels.glob("*.nii.gz"))[0]
    summary = evaluate(file, file)
    assert len(summary["labels"]) == 2  # named by the data set's own dataset.json
    assert not {"1", "2"} & set(summary["labels"])
    assert summary["mean"] == {"dice": 1, "hd95": 0, "asd": 0, "assd": 0, "nsd": 1}


def test_main_takes_a_list_of_arguments(folders, capsys):
    main([str(folder) for folder in folders])
    assert "liver" in capsys.readouterr().out

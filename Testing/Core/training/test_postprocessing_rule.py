"""The rule on largest pieces: chosen for those structures that it helps, measured on files."""

import numpy as np
import pytest
import SimpleITK as sitk
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.postprocessing import keep_largest_components
from DinoUNetCore.training.postprocessing_rule import choose_rule, measure_largest_pieces
from DinoUNetCore.training.validation import measure_cases
from DinoUNetCore.volume.reading import read_label_map


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A data set whose shells are in two pieces, its plan, and predictions with a stray piece of every ball."""
    folder = write_small_dataset(tmp_path_factory.mktemp("data") / "balls", cases=3)
    predictions = {}
    (folder.parent / "validation").mkdir()
    for path in sorted((folder / "labelsTr").iterdir()):
        image = sitk.ReadImage(str(path))
        label = sitk.GetArrayFromImage(image)
        label[:, 36:38, 40:47] = 4
        write(label, image, path)
        predicted = label.copy()
        predicted[0, 0, 0:3] = 1
        predictions[path.name.removesuffix(".nii.gz")] = folder.parent / "validation" / path.name
        write(predicted, image, folder.parent / "validation" / path.name)
    dataset = read_dataset(folder)
    return dataset, make_plan(dataset, make_fingerprint(dataset), "tiny"), predictions


def write(label, image, path):
    written = sitk.GetImageFromArray(label)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(path))


def measure(dataset, predictions):
    return {
        name: measure_cases(lambda _, path=path: read_label_map(path), dataset, [name])[name]
        for name, path in predictions.items()
    }


def test_only_structures_that_it_helps_keep_their_largest_piece_only(cases):
    dataset, plan, predictions = cases
    without = measure(dataset, predictions)
    with_it = measure_largest_pieces(without, predictions, dataset, plan, keep_largest_components)
    rule = choose_rule(without, with_it)
    assert rule.keep_largest == ["ball"]
    assert rule.tried["ball"]["dice"][0] < rule.tried["ball"]["dice"][1] == 1
    assert rule.tried["shell"]["dice"][0] == 1 > rule.tried["shell"]["dice"][1]
    after = rule.applied(without, with_it)
    assert all(measures["dice"] == 1 for case in after.values() for measures in case.values())
    assert all(before["ball"]["dice"] < 1 for before in without.values())


def test_predictions_of_one_piece_each_are_not_measured_again(cases, tmp_path):
    dataset, plan, predictions = cases
    name, path = next(iter(predictions.items()))
    image = sitk.ReadImage(str(path))
    write(np.where(sitk.GetArrayFromImage(image) == 1, 0, 0).astype(np.uint8), image, tmp_path / "empty.nii.gz")
    measured = {name: {"as it was": {}}}
    done = []
    again = measure_largest_pieces(
        measured,
        {name: tmp_path / "empty.nii.gz"},
        dataset,
        plan,
        keep_largest_components,
        progress=lambda *counts: done.append(counts),
    )
    assert again == measured and done == [(0, 1), (1, 1)]


def test_a_damaged_prediction_says_how_to_measure_its_fold_again(cases, tmp_path):
    dataset, plan, _ = cases
    path = tmp_path / "fold_1" / "validation" / "case_0.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"case_0.* remove .*fold_1.metrics\.json and go on with --resume"):
        measure_largest_pieces({"case_0": {}}, {"case_0": path}, dataset, plan, keep_largest_components)


def results(**structures):
    """{case: {structure: measures}} of one case, from pairs of Dice and HD95."""
    return {"case": {name: {"dice": dice, "hd95": hd95} for name, (dice, hd95) in structures.items()}}


def test_a_larger_dice_at_a_larger_distance_or_none_at_all_is_no_help():
    without = results(better=(0.8, 3.0), farther=(0.8, 3.0), same=(0.8, 3.0), worse=(0.8, 3.0), absent=(None, None))
    with_it = results(better=(0.9, 3.0), farther=(0.9, 3.1), same=(0.8, 2.0), worse=(0.7, 2.0), absent=(None, None))
    assert choose_rule(without, with_it).keep_largest == ["better"]

"""Dice and surface distances against definitions written out in full, MONAI, and hand-made cases."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from DinoUNetCore.metrics import METRICS, evaluate_case, present_values, summarise

ROOT = Path(__file__).resolve().parents[2]
ONE = {"background": 0, "organ": 1}


def measure(prediction, reference, spacing, **options):
    return evaluate_case(prediction.astype(np.uint8), reference.astype(np.uint8), spacing, ONE, **options)["organ"]


def surface_voxels(mask):
    """The voxels of `mask` with a neighbour outside, found one by one."""
    found = []
    for voxel in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            if not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]:
                found.append(voxel)
                break
    return np.array(found, float)


def brute_force(prediction, reference, spacing, tolerance=1.0):
    """Every distance between every two surface voxels."""
    first, second = surface_voxels(prediction) * spacing, surface_voxels(reference) * spacing
    distances = np.sqrt(((first[:, None] - second[None]) ** 2).sum(-1))
    there, back = distances.min(1), distances.min(0)
    both = np.concatenate([there, back])
    return {
        "dice": 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum()),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "asd": there.mean(),
        "assd": both.mean(),
        "nsd": (both <= tolerance + 1e-6).mean(),
    }


def ellipsoid(shape, spacing, centre, radius):
    grid = np.indices(shape)
    squares = [((grid[axis] - centre[axis]) * spacing[axis]) ** 2 for axis in range(len(shape))]
    return sum(squares) < radius**2


def random_pairs():
    random = np.random.default_rng(7)
    for shape, spacing in [((7, 12, 9), (5.0, 0.7, 1.3)), ((10, 9, 8), (1.0, 1.0, 1.0)), ((23, 31), (0.4, 1.1))]:
        extent = np.array(shape) * spacing
        for _ in range(4):
            centres = random.uniform(0.1, 0.9, (2, len(shape))) * np.array(shape)  # some objects touch the border
            radii = random.uniform(0.2, 0.5, 2) * extent.min()
            masks = [ellipsoid(shape, spacing, *arguments) for arguments in zip(centres, radii, strict=True)]
            if masks[0].any() and masks[1].any():
                yield *masks, spacing
        yield random.random(shape) < 0.3, random.random(shape) < 0.2, spacing
        yield np.ones(shape, bool), random.random(shape) < 0.2, spacing


PAIRS = list(random_pairs())


@pytest.fixture
def disc():
    """Prediction and reference of the fixture "metrics_disc"."""
    y, x = np.mgrid[:64, :64]
    prediction = (y - 33) ** 2 + (x - 34) ** 2 < 169
    prediction[60, 60] = True
    return prediction, (y - 30) ** 2 + (x - 30) ** 2 < 225


def test_the_fixtures_disc_has_its_true_2d_distances(disc, shared):
    expected = json.loads((shared / "fixtures/extras.json").read_text(encoding="utf-8"))["metrics_disc"]
    result = measure(*disc, (1, 1))
    assert result["dice"] == pytest.approx(expected["dice"], abs=1e-12)
    assert result["hd95"] == pytest.approx(expected["true_2d_(H,W)_spacing_(1,1)"]["HD95"], abs=1e-12)
    assert result["asd"] == pytest.approx(expected["true_2d_(H,W)_spacing_(1,1)"]["ASD"], abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_measured_as_the_2d_image_that_it_is(disc, axis):
    spacing = [1.0, 1.0]
    spacing.insert(axis, 999.0)
    volumes = [np.expand_dims(mask, axis) for mask in disc]
    assert measure(*volumes, spacing) == measure(*disc, (1, 1))


def test_the_missing_axis_adds_nothing_to_the_diagonal():
    volume = np.zeros((1, 30, 40))
    mask = volume.copy()
    mask[0, 3, 3] = 1
    assert measure(volume, mask, (999, 1, 1))["hd95"] == pytest.approx(50)


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_numbers_equal_brute_force(number):
    prediction, reference, spacing = PAIRS[number]
    result = measure(prediction, reference, spacing)
    for metric, value in brute_force(prediction, reference, spacing).items():
        assert result[metric] == pytest.approx(value, abs=1e-9), metric


def test_numbers_equal_monais():
    metrics = pytest.importorskip("monai.metrics", reason="monai is not installed")
    torch = pytest.importorskip("torch")
    for prediction, reference, spacing in PAIRS:
        first, second = (torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference))
        options = {"include_background": True, "spacing": spacing}
        result = measure(prediction, reference, spacing)
        hd95 = metrics.compute_hausdorff_distance(first, second, percentile=95, **options)
        assd = metrics.compute_average_surface_distance(first, second, symmetric=True, **options)
        asd = metrics.compute_average_surface_distance(first, second, **options)
        nsd = metrics.compute_surface_dice(first, second, [1.0 + 1e-6], **options)
        for name, value in {"hd95": hd95, "assd": assd, "asd": asd, "nsd": nsd}.items():
            assert result[name] == pytest.approx(float(value), rel=1e-5, abs=1e-5), name


def test_a_plane_shifted_by_one_thick_slice_is_one_slice_thickness_away():
    prediction, reference = np.zeros((2, 9, 5, 5))
    prediction[4], reference[5] = 1, 1
    result = measure(prediction, reference, (5.0, 0.5, 0.5))
    assert result["hd95"] == result["asd"] == result["assd"] == pytest.approx(5.0)
    assert result["nsd"] == 0
    assert measure(prediction, reference, (5.0, 0.5, 0.5), tolerance=5.0)["nsd"] == 1


def test_a_part_that_the_prediction_lacks_shows_in_assd():
    reference = np.zeros((40, 40))
    reference[5:10, 5:10], reference[30:35, 30:35] = 1, 1
    prediction = reference.copy()
    prediction[20:] = 0
    result = measure(prediction, reference, (1, 1))
    assert result["asd"] == 0
    assert result["assd"] > 5


def test_equal_maps_are_perfect_even_when_they_fill_the_image():
    full = np.ones((4, 5, 6))
    result = measure(full, full, (3, 2, 1))
    assert [result[metric] for metric in METRICS] == [1, 0, 0, 0, 1]


def test_a_single_voxel_and_a_line_can_be_measured():
    assert measure(np.ones((1, 1, 1)), np.ones((1, 1, 1)), (1, 1, 1))["dice"] == 1
    line = np.zeros((1, 1, 9))
    other = line.copy()
    line[..., 2], other[..., 6] = 1, 1
    assert measure(line, other, (1, 1, 0.5))["hd95"] == pytest.approx(2.0)


def test_classes_are_measured_apart():
    reference = np.zeros((20, 20), np.uint16)
    reference[2:8, 2:8], reference[10:18, 10:18] = 3, 700
    prediction = reference.copy()
    prediction[2:8, 2:5] = 700
    result = evaluate_case(prediction, reference, (1, 1), {"background": 0, "a": 3, "b": 700})
    assert list(result) == ["a", "b"]
    assert result["a"]["dice"] == pytest.approx(2 * 18 / (36 + 18))
    assert result["b"]["dice"] == pytest.approx(2 * 64 / (64 + 64 + 18))


def test_axis_order_and_flips_do_not_matter():
    prediction, reference, spacing = PAIRS[0]
    expected = measure(prediction, reference, spacing)
    for order in itertools.permutations(range(3)):
        turned = [np.flip(mask.transpose(order), order[0]) for mask in (prediction, reference)]
        result = measure(*turned, [spacing[axis] for axis in order])
        assert result == pytest.approx(expected, abs=1e-9)


def test_a_class_in_neither_map_is_left_out_of_every_mean():
    empty = np.zeros((6, 8))
    one = empty.copy()
    one[2:4, 2:4] = 1
    nothing = measure(empty, empty, (1, 1))
    assert all(nothing[metric] is None for metric in METRICS)
    summary = summarise({"a": {"organ": measure(one, one, (1, 1))}, "b": {"organ": nothing}})
    assert summary["mean"]["dice"] == 1
    assert summary["labels"]["organ"]["cases"] == 1


@pytest.mark.parametrize(("missed", "invented"), [(1, 0), (0, 1)])
def test_a_class_in_one_map_only_counts_with_the_worst_values(missed, invented):
    empty = np.zeros((30, 40))
    one = empty.copy()
    one[:2, :2] = 1
    result = measure(*((empty, one) if missed else (one, empty)), (2, 2))
    assert (result["dice"], result["nsd"]) == (0, 0)
    assert result["hd95"] == result["asd"] == result["assd"] == pytest.approx(100)
    summary = summarise({"a": {"organ": measure(one, one, (2, 2))}, "b": {"organ": result}})
    organ = summary["labels"]["organ"]
    assert (organ["cases"], organ["missed"], organ["invented"]) == (2, missed, invented)
    assert summary["mean"]["dice"] == 0.5
    assert summary["mean"]["hd95"] == pytest.approx(50)


def test_the_mean_is_the_mean_of_the_classes_means():
    result = {"dice": 1.0, "hd95": 0.0, "asd": 0.0, "assd": 0.0, "nsd": 1.0}
    result |= {"prediction_voxels": 1, "reference_voxels": 1}
    worse = result | {"dice": 0.4}
    absent = dict.fromkeys(METRICS) | {"prediction_voxels": 0, "reference_voxels": 0}
    cases = {"a": {"x": result, "y": worse}, "b": {"x": result, "y": absent}, "c": {"x": worse, "y": absent}}
    summary = summarise(cases)
    assert summary["labels"]["x"]["dice"] == pytest.approx(0.8)
    assert summary["labels"]["y"]["dice"] == pytest.approx(0.4)
    assert summary["mean"]["dice"] == pytest.approx(0.6)


def test_summaries_are_valid_json_even_without_anything_to_measure():
    empty = np.zeros((4, 4))
    summary = summarise({"a": {"organ": measure(empty, empty, (1, 1))}})
    assert json.loads(json.dumps(summary, allow_nan=False))["mean"] == dict.fromkeys(METRICS)
    assert summarise({})["mean"]["dice"] is None


def test_voxels_labelled_ignore_in_the_reference_count_in_neither_map():
    reference = np.zeros((10, 10), np.uint8)
    reference[2:6, 2:6], reference[6:] = 1, 9
    prediction = np.zeros_like(reference)
    prediction[2:9, 2:6] = 1
    result = evaluate_case(prediction, reference, (1, 1), {"organ": 1, "ignore": 9})
    assert list(result) == ["organ"]
    assert result["organ"]["dice"] == 1
    assert result["organ"]["hd95"] == 0


def test_regions_are_measured_as_the_union_of_their_values():
    reference = np.zeros((12, 12), np.uint8)
    reference[2:10, 2:10], reference[4:8, 4:8] = 1, 2
    prediction = np.zeros_like(reference)
    prediction[2:10, 3:11], prediction[4:8, 4:6] = 1, 2
    result = evaluate_case(prediction, reference, (2, 3), {"whole": [2, 1], "core": [2], "absent": [3, 4]})
    assert result["whole"] == evaluate_case(prediction > 0, reference > 0, (2, 3), {"whole": 1})["whole"]
    assert result["core"] == evaluate_case(prediction, reference, (2, 3), {"core": 2})["core"]
    assert result["core"]["dice"] == 2 * 8 / (8 + 16) and result["whole"]["hd95"] == 3
    assert result["absent"]["dice"] is None


def test_values_are_found():
    array = np.array([[0, 1, 7], [1, 300, 0]])
    assert present_values(array) == [1, 7, 300]


@pytest.mark.parametrize("shape", [(30,), (9, 8), (9, 8, 7)])
def test_large_values_are_measured_as_small_ones_are(shape):
    random = np.random.default_rng(3)
    prediction, reference = (random.integers(0, 4, shape) for _ in range(2))
    large = np.array([0, 5, 70_000, 2_000_000_000], np.int32)
    expected = evaluate_case(prediction, reference, (1.5,) * len(shape), {"a": 1, "b": 2, "c": 3})
    labels = {"a": 5, "b": 70_000, "c": 2_000_000_000}
    assert evaluate_case(large[prediction], large[reference], (1.5,) * len(shape), labels) == expected
    assert present_values(large[reference]) == [5, 70_000, 2_000_000_000]
    assert present_values(np.array([70_000, 70_000])) == [70_000]  # no background


@pytest.mark.parametrize("array", [np.array([-1, 2]), np.array([0.5, 1.0])])
def test_what_is_no_label_map_is_refused(array):
    with pytest.raises(ValueError, match="whole numbers from 0 up"):
        present_values(array)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="do not agree"):
        evaluate_case(np.zeros((4, 4), int), np.zeros((4, 5), int), (1, 1), ONE)


def test_the_inputs_stay_as_they_are():
    reference = np.array([[0, 1, 9], [1, 1, 0]], np.uint8)
    before = reference.copy()
    evaluate_case(reference, reference, (1, 1), {"organ": 1, "ignore": 9})
    assert np.array_equal(reference, before)


def test_a_big_map_of_many_classes_is_measured_in_little_memory():
    resource = pytest.importorskip("resource", reason="peak memory is read with a module that Windows lacks")
    script = """
import resource, sys
import numpy as np, scipy.ndimage, scipy.spatial
from DinoUNetCore.metrics import evaluate_case
reference = np.zeros((120, 384, 384), np.uint8)
reference[10:100, 40:340, 40:340] = 1
for value in range(2, 42):
    reference[value:value + 20, 5 * value:5 * value + 30, 8 * value:8 * value + 30] = value
prediction = np.roll(reference, 2, 2)
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluate_case(prediction, reference, (2, 1, 1), {str(value): value for value in range(1, 42)})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / reference.size)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert resource and float(answer.stdout) < 8  # bytes per voxel; one-hot of bytes alone would be 82

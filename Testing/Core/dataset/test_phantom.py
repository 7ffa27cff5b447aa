import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.dataset.phantom import PHANTOM_LABELS, make_phantom, write_phantom_dataset
from DinoUNetCore.errors import UserError

SMALL = (64, 64, 24)
AXIAL = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def digest(image: sitk.Image) -> str:
    return hashlib.sha256(sitk.GetArrayViewFromImage(image).astype("<i2").tobytes()).hexdigest()


def grid(image: sitk.Image) -> tuple:
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def centres(labels: sitk.Image) -> dict[str, np.ndarray]:
    """Centre of each label in LPS mm."""
    measures = sitk.LabelShapeStatisticsImageFilter()
    measures.Execute(labels)
    return {name: np.array(measures.GetCentroid(value)) for name, value in PHANTOM_LABELS.items() if value}


def dice_on_grid_of(reference: sitk.Image, other: sitk.Image) -> dict[str, float]:
    moved = sitk.GetArrayFromImage(sitk.Resample(other, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 255))
    fixed = sitk.GetArrayFromImage(reference)
    seen = moved != 255
    dice = {}
    for name, value in PHANTOM_LABELS.items():
        a, b = (fixed == value) & seen, (moved == value) & seen
        dice[name] = 2 * (a & b).sum() / (a.sum() + b.sum())
    return dice


@pytest.fixture(scope="module")
def default():
    return make_phantom(1)


def test_a_seed_gives_the_same_voxels_in_another_process():
    image, labels = make_phantom(3, size=(40, 40, 12))
    program = (
        "import hashlib, SimpleITK as sitk\n"
        "from DinoUNetCore.dataset.phantom import make_phantom\n"
        "for image in make_phantom(3, size=(40, 40, 12)):\n"
        "    print(hashlib.sha256(sitk.GetArrayViewFromImage(image).astype('<i2').tobytes()).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(image), digest(labels)]


def test_a_seed_gives_the_same_voxels_on_every_machine():
    # A new drawing changes these numbers; another machine, numpy or SimpleITK must not.
    image, labels = make_phantom(3, size=(40, 40, 12))
    assert digest(image)[:16] == "3181c5e173b08e33"
    assert digest(labels)[:16] == "cc01dc621f78557b"


def test_other_seeds_give_other_patients():
    one, other = (make_phantom(seed, size=SMALL, direction=AXIAL)[1] for seed in (1, 2))
    shift = centres(one)["liver"] - one.GetOrigin() - (centres(other)["liver"] - other.GetOrigin())
    assert np.abs(shift).max() > 1


def test_types_grid_and_labels_of_the_default_volume(default):
    image, labels = default
    assert (image.GetPixelID(), labels.GetPixelID()) == (sitk.sitkInt16, sitk.sitkUInt8)
    assert image.GetSize() == (192, 192, 64)
    assert grid(image) == grid(labels)
    values, counts = np.unique(sitk.GetArrayViewFromImage(labels), return_counts=True)
    assert values.tolist() == sorted(PHANTOM_LABELS.values())
    volumes = dict(zip(values.tolist(), counts * np.prod(labels.GetSpacing()) / 1000, strict=True))
    bounds = {"spleen": (60, 450), "kidney_left": (70, 350), "kidney_right": (70, 350), "liver": (700, 2500)}
    bounds |= {"lung_left": (900, 3500), "lung_right": (900, 3500), "heart": (300, 1200), "aorta": (80, 400)}
    for name, (low, high) in bounds.items():
        assert low < volumes[PHANTOM_LABELS[name]] < high, f"{name}: {volumes[PHANTOM_LABELS[name]]:.0f} ml"


@pytest.mark.parametrize("seed", range(10, 15))
def test_every_patient_has_every_organ_on_its_side(seed):
    _, labels = make_phantom(seed, size=SMALL)
    assert set(np.unique(sitk.GetArrayViewFromImage(labels))) == set(PHANTOM_LABELS.values())
    at = centres(labels)  # LPS: +x is the patient's left, +y the back, +z the head
    spine = at["spine"]
    for organ in ("liver", "kidney_right", "lung_right"):
        assert at[organ][0] < spine[0] - 25, organ
    for organ in ("spleen", "stomach", "kidney_left", "lung_left"):
        assert at[organ][0] > spine[0] + 25, organ
    assert at["heart"][0] > spine[0] + 5
    assert at["aorta"][0] > spine[0]
    assert all(at[organ][1] < spine[1] for organ in at if organ != "spine")
    assert at["lung_left"][2] > at["spleen"][2] > at["kidney_left"][2]
    assert at["heart"][2] > at["liver"][2]


def test_hounsfield_units_are_those_of_the_tissues(default):
    image, labels = (sitk.GetArrayViewFromImage(one) for one in default)
    mean = {name: np.median(image[labels == value]) for name, value in PHANTOM_LABELS.items()}
    assert -920 < mean["lung_left"] < -780 and -920 < mean["lung_right"] < -780
    assert 40 < mean["liver"] < 130
    assert 20 < mean["kidney_left"] < 220
    assert 30 < mean["heart"] < 320
    assert mean["spine"] > 120
    air = image[:, :12, :12]
    assert abs(np.median(air) + 1000) < 15


def test_noise_has_grain(default):
    image = sitk.GetArrayViewFromImage(default[0])
    air = image[10:50, :14, :14].astype(float)
    air = np.where(air > -1024, air, np.nan)
    neighbours = np.nanmean((air[:, :, 1:] + 1000) * (air[:, :, :-1] + 1000)) / np.nanvar(air)
    assert 3 < np.nanstd(air) < 20
    assert neighbours > 0.4


def test_borders_have_partial_volume():
    """Fat or muscle meets lung over a whole range of values, in the plane and across slices."""
    image, labels = (sitk.GetArrayFromImage(one) for one in make_phantom(1, size=(96, 96, 48), direction=AXIAL))
    lung = np.isin(labels, (PHANTOM_LABELS["lung_left"], PHANTOM_LABELS["lung_right"]))
    for axis in (0, 2):
        border = np.diff(lung.astype(np.int8), axis=axis) != 0
        inside = np.moveaxis(image, axis, 0)[1:][np.moveaxis(border, axis, 0)]
        between = (inside > -650) & (inside < -250)
        assert between.mean() > 0.1


@pytest.mark.parametrize(
    "scan",
    [
        {"direction": (0.9848, -0.1736, 0, 0.1736, 0.9848, 0, 0, 0, 1)},
        {"direction": (0, 0, -1, 1, 0, 0, 0, -1, 0)},
        {"size": (80, 100, 50), "spacing": (4.0, 3.5, 5.0)},
        {"random_orientation": True, "size": (96, 96, 48)},
    ],
    ids=["oblique", "sagittal", "other grid", "random orientation"],
)
def test_a_seed_is_the_same_patient_on_every_grid(scan):
    reference = make_phantom(4, size=(96, 96, 48), direction=AXIAL)[1]
    if "direction" in scan:
        length = np.linalg.norm(np.reshape(scan["direction"], (3, 3)), axis=0)
        scan = {"direction": tuple((np.reshape(scan["direction"], (3, 3)) / length).ravel()), "size": (96, 96, 96)}
    image, labels = make_phantom(4, **scan)
    assert grid(image) == grid(labels)
    for name, dice in dice_on_grid_of(reference, labels).items():
        # vertebral arches are thinner than the voxels of these grids
        assert dice > (0.6 if name == "spine" else 0.75), f"{name}: {dice:.3f}"


def test_random_orientation_only_reorders_the_voxels():
    seen = set()
    for seed in range(3):
        plain = make_phantom(seed, size=(24, 20, 10))
        stored = make_phantom(seed, size=(24, 20, 10), random_orientation=True)
        seen.add((stored[0].GetSize(), tuple(np.sign(np.round(stored[0].GetDirection())))))
        for a, b in zip(plain, stored, strict=True):
            for index in itertools.product(range(0, 24, 5), range(0, 20, 5), range(0, 10, 3)):
                there = b.TransformPhysicalPointToIndex(a.TransformIndexToPhysicalPoint(index))
                assert a[index] == b[there]
    assert len(seen) > 1


def test_spacing_alone_covers_the_torso():
    image, labels = make_phantom(5, spacing=(5.0, 5.0, 10.0))
    assert image.GetSpacing() == (5.0, 5.0, 10.0)
    assert 55 < image.GetSize()[0] < 95 and 24 < image.GetSize()[2] < 36
    assert set(np.unique(sitk.GetArrayViewFromImage(labels))) == set(PHANTOM_LABELS.values())


def test_beyond_the_body_is_air_and_a_small_field_crops():
    image, _ = make_phantom(6, size=(40, 40, 40), spacing=(20.0, 20.0, 20.0), direction=AXIAL)
    array = sitk.GetArrayViewFromImage(image)
    assert np.median(array[0]) < -950 and np.median(array[-1]) < -950 and np.median(array[:, 0]) < -950
    _, labels = make_phantom(6, size=(32, 32, 4), spacing=(2.0, 2.0, 2.0))
    assert 0 < len(np.unique(sitk.GetArrayViewFromImage(labels))) < len(PHANTOM_LABELS)


@pytest.mark.parametrize(
    "wrong",
    [{"size": (0, 8, 8)}, {"size": (8, 8)}, {"spacing": (1, 1, -1)}, {"direction": (1, 0.5, 0, 0, 1, 0, 0, 0, 1)}],
)
def test_impossible_grids_are_refused(wrong):
    with pytest.raises(ValueError):
        make_phantom(1, **{"size": (8, 8, 4), **wrong})


def test_data_set_folder_is_an_nnunet_one(tmp_path):
    calls = []
    folder = write_phantom_dataset(
        tmp_path / "set", 2, 40, size=(24, 24, 8), progress=lambda done, count: calls.append((done, count))
    )
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert table["channel_names"] == {"0": "CT"}
    assert table["labels"] == PHANTOM_LABELS
    assert (table["numTraining"], table["file_ending"]) == (2, ".nii.gz")
    assert calls == [(1, 2), (2, 2)]
    images = sorted(path.name for path in (folder / "imagesTr").iterdir())
    assert images == ["phantom_0040_0000.nii.gz", "phantom_0041_0000.nii.gz"]
    assert len(list((folder / "labelsTr").iterdir())) == 2
    for written, made in zip(
        (folder / "imagesTr" / images[1], folder / "labelsTr" / "phantom_0041.nii.gz"),
        make_phantom(41, size=(24, 24, 8)),
        strict=True,
    ):
        read = sitk.ReadImage(str(written))
        assert np.array_equal(sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(made))
        assert np.allclose(read.GetOrigin(), made.GetOrigin(), atol=1e-3)
        assert np.allclose(read.GetDirection(), made.GetDirection(), atol=1e-6)


def test_an_existing_folder_is_only_overwritten_when_asked(tmp_path):
    tiny = {"size": (8, 8, 4)}
    write_phantom_dataset(tmp_path, 2, 1, **tiny)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    before = (tmp_path / "imagesTr" / "phantom_0001_0000.nii.gz").read_bytes()
    with pytest.raises(UserError, match="not empty"):
        write_phantom_dataset(tmp_path, 1, 9, **tiny)
    assert (tmp_path / "imagesTr" / "phantom_0001_0000.nii.gz").read_bytes() == before
    write_phantom_dataset(tmp_path, 1, 9, overwrite=True, **tiny)
    assert [path.name for path in (tmp_path / "labelsTr").iterdir()] == ["phantom_0009.nii.gz"]
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_file_in_the_way_is_a_user_error(tmp_path):
    (tmp_path / "set").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is a file"):
        write_phantom_dataset(tmp_path / "set", 1, 1)

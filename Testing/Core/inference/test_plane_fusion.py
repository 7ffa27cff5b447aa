"""Fusing planes: the mean of their logits, on the image's own grid, out of a file that nobody finds afterwards."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from limited_memory import LimitedMemory
from smooth_images import ORDERS, assert_same_grid, image_of, oblique, reordered, smooth, values

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference import voxel_channels
from DinoUNetCore.inference.probabilities import ProbabilityFiles
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.geometry import PLANES, Slicing
from DinoUNetCore.volume.intensity import fit
from DinoUNetCore.volume.resampling import resize, target_size

pytestmark = pytest.mark.usefixtures("one_thread")

SPACING, ORIGIN = (0.8, 1.1, 1.7), (3.0, -20.0, 7.5)
MANY = {f"label {value}": value for value in range(1, 13)}  # more than the network's 8 features


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder of its own for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def in_three_planes(random_bundle, **options):
    return random_bundle(**{"planes": list(PLANES), "spacing": [1.0, 1.0], **options})


def logits_in(plane, bundle, network, image):
    """(classes, K, J, I): what the slices of one plane give each voxel, all in memory."""
    volume = Segmenter(bundle, "cpu", network=network).volume_of(image)
    slicing = Slicing.of(volume.grid, plane)
    slices = [slicing.cut(channel) for channel in volume.channels]
    pixels = np.stack([scale(s) for scale, s in zip(fit(bundle.normalization, slices), slices, strict=True)], axis=1)
    size = target_size(pixels.shape[2:], slicing.spacing[1:], bundle.spacing)
    with torch.inference_mode():
        seen = torch.nn.functional.pad(resize(torch.from_numpy(pixels), size), _padding(size), mode="replicate")
        rows, columns = (slice(32 - side // 2, 32 - side // 2 + side) for side in size)
        logits = resize(network(seen)[:, :, rows, columns], pixels.shape[2:])
    return np.stack([slicing.restore(logits[:, c].numpy()) for c in range(logits.shape[1])])


def _padding(size):
    (top, bottom), (left, right) = ((32 - side // 2, 64 - side - (32 - side // 2)) for side in size)
    return left, right, top, bottom


def probabilities_of(segmenter, image, folder):
    files = ProbabilityFiles(folder, "case", segmenter.bundle.labels)
    segmenter.segment(image, probabilities=files)
    return np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in files.paths])


@pytest.mark.parametrize("labels", [{"one": 1, "two": 2, "three": 7}, MANY])  # logits are kept, or features
@pytest.mark.parametrize("planes", [PLANES, ("coronal", "sagittal")])
def test_the_labels_are_those_of_the_mean_of_all_planes_logits(random_bundle, tmp_path, planes, labels):
    bundle = in_three_planes(random_bundle, labels=labels)
    image = image_of(smooth((21, 30, 26)), SPACING, ORIGIN, oblique(0.2, 0.1, 0.1).ravel().tolist())
    network = bundle.build_network()
    mean = np.mean([logits_in(plane, bundle, network, image) for plane in planes], axis=0)
    segmenter = Segmenter(bundle, "cpu", planes=planes)
    expected = np.array([0, *labels.values()])[mean.argmax(axis=0)]
    assert (values(segmenter.segment(image)) == expected).mean() > 0.9999  # rounding may decide a tie
    found = probabilities_of(segmenter, image, tmp_path)
    np.testing.assert_allclose(found, torch.from_numpy(mean).softmax(dim=0)[1:].numpy(), atol=2e-5)
    single = values(Segmenter(bundle, "cpu", planes=planes[:1]).segment(image))
    assert (single != expected).mean() > 0.02  # the planes differ


@pytest.mark.parametrize("direction", [np.eye(3), oblique(), oblique(np.pi / 4, 0, 0)])
def test_all_48_storage_orders_give_the_same_fused_labels_to_the_bit(random_bundle, direction):
    bundle = in_three_planes(random_bundle, patch_size=[32, 32], context_slices=3)
    segmenter = Segmenter(bundle, "cpu", batch_size=32, keep_largest=True)
    image = image_of(smooth((5, 11, 24)), SPACING, ORIGIN, direction.ravel().tolist())
    reference = segmenter.segment(image)
    assert len(np.unique(values(reference))) == 4
    for permutation, flips in ORDERS:
        moved = reordered(image, permutation, flips)
        labels = segmenter.segment(moved)
        assert_same_grid(labels, moved)
        np.testing.assert_array_equal(values(labels), values(reordered(reference, permutation, flips)))


@pytest.mark.parametrize("options", [{"patch_size": [32, 32]}, {"labels": MANY, "context_slices": 3}])
@pytest.mark.parametrize("direction", [np.eye(3), oblique()])
def test_in_a_region_the_fused_labels_are_those_of_the_whole_volume(random_bundle, options, direction):
    segmenter = Segmenter(in_three_planes(random_bundle, **options), "cpu", batch_size=1)
    image = image_of(smooth((12, 40, 26)), (1.0, 1.1, 2.0), ORIGIN, direction.ravel().tolist())
    whole = values(segmenter.segment(image))
    for region in ([[8, 13], [10, 20], [3, 11]], [[24, 26], [0, 1], [1, 2]]):
        box = tuple(slice(start, stop) for start, stop in region[::-1])
        labels = segmenter.label(segmenter.volume_of(image), region)
        np.testing.assert_array_equal(labels, whole[box])


def test_one_plane_is_what_it_was(random_bundle):
    image = image_of(smooth((9, 30, 26)), SPACING)
    for plane in PLANES:
        plain = values(Segmenter(random_bundle(plane=plane, spacing=[1.0, 1.0]), "cpu").segment(image))
        one_of_three = Segmenter(in_three_planes(random_bundle), "cpu", planes=[plane])
        np.testing.assert_array_equal(values(one_of_three.segment(image)), plain)


@pytest.mark.parametrize("shape", [(1, 30, 26), (9, 1, 26), (9, 30, 1)])
def test_a_single_slice_is_segmented_once_as_it_lies(random_bundle, shape, scratch):
    fused, plain = Segmenter(in_three_planes(random_bundle), "cpu"), Segmenter(random_bundle(), "cpu")
    image = image_of(smooth(shape), (1.0, 1.0, 1.0))
    calls = []
    labels = fused.segment(image, lambda *progress: calls.append(progress))
    np.testing.assert_array_equal(values(labels), values(plain.segment(image)))
    assert calls[-1] == (1, 1)


def test_planes_are_given_in_any_order_and_must_be_the_models(random_bundle):
    bundle = in_three_planes(random_bundle, plane="coronal", planes=["coronal", "axial"])
    assert Segmenter(bundle, "cpu").planes == ["coronal", "axial"]
    assert Segmenter(bundle, "cpu", planes=("axial", "coronal")).planes == ["coronal", "axial"]
    for planes in (["sagittal"], ["axial", "sagittal"], []):
        with pytest.raises(UserError, match=r"was trained on coronal, axial slices, .*; choose among these"):
            Segmenter(bundle, "cpu", planes=planes)


def test_progress_counts_the_slices_of_all_planes(random_bundle):
    segmenter = Segmenter(in_three_planes(random_bundle), "cpu", batch_size=8)
    calls = []
    segmenter.segment(image_of(smooth((5, 11, 24))), lambda *progress: calls.append(progress))
    assert calls[0] == (0, 40) and calls[-1] == (40, 40)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls) and {total for _, total in calls} == {40}


def test_mirroring_and_the_highest_probabilities_are_of_all_planes(random_bundle, tmp_path):
    bundle = in_three_planes(random_bundle, mirror=["columns"])
    image = image_of(smooth((9, 30, 26)), (1.0, 1.0, 1.0))
    segmenter = Segmenter(bundle, "cpu", mirror=True)
    highest = {}
    labels = segmenter.label(segmenter.volume_of(image), highest=highest)
    assert not np.array_equal(labels, values(Segmenter(bundle, "cpu").segment(image)))
    found = probabilities_of(segmenter, image, tmp_path)
    assert [highest[label.value] for label in bundle.labels] == pytest.approx(found.max(axis=(1, 2, 3)).tolist())


@pytest.mark.parametrize("limit", [1, 3])
def test_memory_that_runs_out_within_a_plane_changes_nothing(random_bundle, limit):
    bundle = in_three_planes(random_bundle)
    image = image_of(smooth((9, 30, 26)))
    expected = values(Segmenter(bundle, "cpu").segment(image))
    network = LimitedMemory(bundle.build_network(), limit)
    assert (values(Segmenter(bundle, "cpu", network=network).segment(image)) == expected).mean() > 0.9995


def test_a_slice_that_comes_again_is_not_added_twice(random_bundle):
    """Memory may also run out where features become labels, after some of a batch's slices were added."""
    bundle = in_three_planes(random_bundle)
    image = image_of(smooth((9, 30, 26)))
    expected = values(Segmenter(bundle, "cpu", batch_size=8).segment(image))
    network = bundle.build_network()
    head, calls = network.decoder.head, []

    def fail_once(*_):
        calls.append(None)
        if len(calls) in (4, 15):
            raise MemoryError

    head.register_forward_pre_hook(fail_once)
    labels = values(Segmenter(bundle, "cpu", batch_size=8, network=network).segment(image))
    assert len(calls) > 15
    assert (labels == expected).mean() > 0.9995


def test_a_short_precision_keeps_short_sums(random_bundle):
    bundle = in_three_planes(random_bundle)
    image = image_of(smooth((9, 30, 26)))
    full = values(Segmenter(bundle, "cpu").segment(image))
    short = values(Segmenter(bundle, "cpu", precision="bfloat16").segment(image))
    assert (full == short).mean() > 0.9


# the temporary file ---------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_told_before_the_work(random_bundle, scratch, monkeypatch):
    usage = voxel_channels.shutil.disk_usage(scratch)
    monkeypatch.setattr(voxel_channels.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    bundle = in_three_planes(random_bundle)
    network = LimitedMemory(bundle.build_network(), 1000)
    segmenter = Segmenter(bundle, "cpu", network=network)
    with pytest.raises(UserError, match=r"needs .* GB of temporary disk .*scratch has 1e-06 GB free; .*(TMPDIR|TEMP)"):
        segmenter.segment(image_of(smooth((9, 30, 26))))
    assert network.batches == []
    assert segmenter.segment(image_of(smooth((1, 30, 26)))) is not None  # needs none


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("when", [1, 4, 20])
def test_nothing_is_left_behind_by_a_run_that_is_ended_or_fails(random_bundle, scratch, when):
    segmenter = Segmenter(in_three_planes(random_bundle), "cpu", batch_size=2)
    volume = segmenter.volume_of(image_of(smooth((9, 30, 26))))
    calls = []

    def check(*_):
        calls.append(_open_files(scratch))
        if len(calls) > when * 10:
            raise Stop

    for hooks in ({"check": check}, {"progress": check}):
        calls.clear()
        with pytest.raises(Stop):
            while True:
                segmenter.label(volume, **hooks)
        assert max(calls) in (1, 2)  # while it runs there is one, perhaps mapped
        assert list(scratch.iterdir()) == [] and _open_files(scratch) == 0
    segmenter.label(volume)
    assert list(scratch.iterdir()) == [] and _open_files(scratch) == 0


def _open_files(folder):
    """How many files of the folder this process has open, those without a name too; 1 where the system does not say."""
    handles = Path("/proc/self/fd")
    if not handles.exists():
        return len(list(folder.iterdir()))
    places = []
    for handle in handles.iterdir():
        try:
            places.append(os.readlink(handle))
        except OSError:
            continue
    return sum(place.startswith(str(folder)) for place in places)

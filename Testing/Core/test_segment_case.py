"""A case of the command that segments: read, segmented and written in turn, and told when one of these cannot be."""

from argparse import Namespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from smooth_images import image_of, smooth, values

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.cases import InputCase
from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory
from DinoUNetCore.segment_case import SegmentCase

pytestmark = pytest.mark.usefixtures("one_thread")

LARGE = {"one": 1, "two": 70_000}


@pytest.fixture(scope="module")
def reserve(random_bundle):
    return reserve_of(random_bundle())


def reserve_of(bundle):
    return CpuInReserve(lambda on_cpu: Segmenter(bundle, "cpu"), torch.device("cpu"), print)


@pytest.fixture
def make(tmp_path, reserve):
    """Makes the case of an image with its output in a folder; options replace those of the command."""

    def make(image, file="scan.nii.gz", reserve=reserve, alone=False, **options):
        source = tmp_path / "scan.nrrd"
        sitk.WriteImage(image, str(source))
        folder = tmp_path / "out"
        asked = {"output": folder, "format": None, "overwrite": False, "probabilities": None}
        options = Namespace(**asked | {"resample_channels": False} | options)
        return SegmentCase(InputCase("scan", (source,)), folder / file, options, reserve, alone)

    return make


def steps(case):
    """All that become of the case, as the pipeline has them."""
    try:
        result = case.segment(case.read())
    except UserError as error:
        result = error
    case.write(result)


def test_three_steps_make_the_label_map_and_tell_where_it_is(make, reserve, tmp_path, capsys):
    image = image_of(smooth((3, 40, 36)))
    case = make(image)
    assert case.has_room()
    steps(case)
    written = tmp_path / "out" / "scan.nii.gz"
    expected = values(reserve.segmenter.segment(image))
    np.testing.assert_array_equal(values(sitk.ReadImage(str(written))), expected)
    printed = capsys.readouterr()
    assert printed.out.startswith(f"scan: {written} (") and printed.err == ""
    assert case.failure is None


def test_a_volume_where_a_picture_was_expected_goes_into_a_volume_s_file_if_nothing_else_was_asked(make, tmp_path):
    steps(make(image_of(smooth((3, 40, 36))), "scan.png"))
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["scan.nii.gz"]
    for options in ({"format": ".png"}, {"output": tmp_path / "out" / "scan.png"}):
        case = make(image_of(smooth((3, 40, 36))), "scan.png", **options)
        steps(case)
        assert "scan is a volume, which cannot be written to" in case.failure


def test_label_values_that_a_picture_cannot_hold_are_told_before_the_work(make, random_bundle, tmp_path):
    picture = sitk.GetImageFromArray(smooth((40, 36)))
    case = make(picture, "scan.png", reserve_of(random_bundle(labels=LARGE, dimension=2)))
    with pytest.raises(UserError, match="beyond 65535 do not fit"):
        case.segment(case.read())
    assert not (tmp_path / "out").exists()


def test_another_colour_table_in_the_way_is_told_before_the_work(make, tmp_path):
    table = tmp_path / "out" / "scan.ctbl"
    table.parent.mkdir()
    table.write_text("the user's own", encoding="utf-8")
    case = make(image_of(smooth((3, 40, 36))))
    with pytest.raises(UserError, match=r"scan\.ctbl exists already"):
        case.segment(case.read())
    steps(make(image_of(smooth((3, 40, 36))), overwrite=True))
    assert "one" in table.read_text(encoding="utf-8")


def test_after_the_cpu_could_not_take_over_each_case_is_told_so(make, random_bundle, capsys):
    bundle = random_bundle()

    class OnSmallGpu(Segmenter):
        def segment(self, volume, progress=None, probabilities=None):
            raise OutOfMemory("scan needs more memory than cuda has free.", torch.device("cuda"))

    def make_segmenter(on_cpu):
        if on_cpu:
            raise OutOfMemory("random needs more memory than this computer has free; choose a smaller model.")
        return OnSmallGpu(bundle, "cpu")

    small = CpuInReserve(make_segmenter, torch.device("cuda"), lambda sentence: None)
    cases = [make(image_of(smooth((3, 40, 36))), reserve=small) for _ in range(2)]
    for case in cases:
        steps(case)
        assert "more memory than this computer has" in case.failure
    assert capsys.readouterr().err.count("error: random needs") == 2


def test_why_a_case_among_others_failed_is_said_at_once_and_that_of_a_single_one_is_kept_for_the_end(make, capsys):
    for alone in (False, True):
        case = make(image_of(smooth((3, 40, 36))), alone=alone)
        case.write(UserError("the disk is full; make room."))
        assert case.failure == "the disk is full; make room."
        assert capsys.readouterr().err == ("" if alone else "error: the disk is full; make room.\n")


def test_what_is_much_larger_than_free_memory_is_not_read_beside_another_one(make, tmp_path):
    case = make(image_of(smooth((3, 40, 36))))
    header = (tmp_path / "scan.nrrd").read_bytes().replace(b"sizes: 36 40 3", b"sizes: 200000 200000 20000")
    (tmp_path / "scan.nrrd").write_bytes(header)
    assert not case.has_room()

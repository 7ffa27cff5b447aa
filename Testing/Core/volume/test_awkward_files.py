"""Every file of the awkward collection is read on the grid that it really has, or refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.reading import read_image, read_label_map
from DinoUNetCore.volume.volume import Grid

MULTI_FRAME = "multi-frame"
REFUSED = {
    "dicom/ct_3slice_liver_SEG.dcm": "segmentation, not a scan",
    "dicom/ct_gantry_tilt": "tilted gantry",
    "dicom/enhanced_ct_supplemental_colour.dcm": MULTI_FRAME,
    "dicom/enhanced_mr_10frames.dcm": MULTI_FRAME,
    "dicom/enhanced_mr_jpegls.dcm": MULTI_FRAME,
    "dicom/enhanced_mr_siemens_xa.dcm": MULTI_FRAME,
    "dicom/mr_truncated.dcm": "damaged",
    "dicom/rtdose.dcm": "dose grid, not a scan",
    "dicom/us_ybr_30frames.dcm": MULTI_FRAME,
    "nifti/4d_coronal.nii": "4 dimensions",
    "nifti/4d_pcasl.nii.gz": "4 dimensions",
    "nifti/4d_single_slice.nii.gz": "4 dimensions",
    "nifti/4d_thin_slab.nii": "4 dimensions",
    "nifti/complex64.nii.gz": "complex",
    "nifti/nifti2_4d.nii.gz": "NIfTI-2",
    "nifti/shear_gantry_tilt_ct.nii.gz": "sheared",
    "other/freesurfer_labels.mgz": "no image in a known format",
    "other/tiny.mnc": "cannot read",
}
READ = {
    "dicom/cr_monochrome1.dcm": (1760, 1760, 1),
    "dicom/ct_3slice": (512, 512, 3),
    "dicom/ct_series_jpeg2000": (512, 512, 20),
    "dicom/ct_small.dcm": (128, 128, 1),
    "dicom/mr_bigendian.dcm": (64, 64, 1),
    "dicom/us_palette.dcm": (800, 350, 1),
    "nifti/bigendian_float32.nii": (21, 26, 22),
    "nifti/bigendian_int16.nii": (33, 41, 25),
    "nifti/float64_PSR.nii.gz": (60, 55, 52),
    "nifti/no_qform_no_sform.nii.gz": (64, 64, 10),
    "nifti/orient_AIL.nii.gz": (79, 67, 64),
    "nifti/rgb24_single_page.nii.gz": (1201, 1244, 1),
    "nifti/rgb24_volume.nii.gz": (256, 286, 15),
    "nifti/tiny_7x5x3.nii.gz": (7, 5, 3),
    "nifti/uint16_long.nii.gz": (70, 70, 275),
    "other/compressed.mha": (64, 64, 37),
    "other/oblique_flair.nrrd": (124, 160, 140),
    "other/pair.hdr": (62, 41, 34),
    "other/pair.img": (62, 41, 34),
}
PAIRS = [
    ("nifti/mr_slab_LPS.nii.gz", "nifti/mr_slab_LPS_label.nii.gz"),
    ("nifti/oblique_flair.nii.gz", "nifti/oblique_flair_label.nii.gz"),
    ("nifti/sct_t1w_RAS.nii.gz", "nifti/sct_t1w_RAS_label.nii.gz"),
    ("nifti/sct_t2_PSR.nii.gz", "nifti/sct_t2_PSR_label.nii.gz"),
    ("nifti/sct_t2s_anisotropic.nii.gz", "nifti/sct_t2s_anisotropic_label.nii.gz"),
    ("dicom/ct_3slice", "dicom/ct_3slice_liver_seg.nrrd"),
    ("dicom/ct_3slice", "dicom/ct_3slice_heart_seg.nrrd"),
    ("dicom/ct_3slice", "dicom/ct_3slice_spine_seg.nrrd"),
]


@pytest.fixture(scope="module")
def awkward(shared) -> Path:
    folder = shared / "data" / "awkward"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared/data/awkward' beside the checkout")
    return folder


def test_every_file_is_read_or_refused_as_expected(awkward):
    seen = set()
    for path in sorted(awkward.glob("*/*")):
        name = path.relative_to(awkward).as_posix()
        seen.add(name)
        try:
            image = read_image(path)
        except UserError as error:
            sentence = str(error)
            assert str(path) in sentence and sentence.endswith(".") and "\n" not in sentence, sentence
            assert REFUSED.get(name, "(should be read)") in sentence, sentence
        else:
            assert name not in REFUSED, f"{name} was read"
            assert image.GetSize() == READ.get(name, image.GetSize())
            assert image.GetDimension() == 3
    assert seen >= {*REFUSED, *READ}


@pytest.mark.parametrize(("image", "label"), PAIRS)
def test_label_maps_share_the_grid_of_their_image(awkward, image, label):
    labels = read_label_map(awkward / label)
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert Grid.of(read_image(awkward / image)).difference(Grid.of(labels)) == ""


def test_slices_of_a_series_lie_where_their_headers_say(awkward):
    for folder in ("dicom/ct_3slice", "dicom/ct_series_jpeg2000"):
        grid = Grid.of(read_image(awkward / folder))
        positions = []
        for path in (awkward / folder).iterdir():
            header = sitk.ReadImage(str(path))
            positions.append([float(part) for part in header.GetMetaData("0020|0032").split("\\")])
        expected = [grid.position((0, 0, k)) for k in range(grid.size[2])]
        assert np.allclose(sorted(positions, key=lambda p: p[2]), sorted(expected, key=lambda p: p[2]), atol=1e-3)


def test_an_inverted_x_ray_shows_bright_bones(awkward):
    image = sitk.GetArrayFromImage(read_image(awkward / "dicom/cr_monochrome1.dcm"))[0]
    assert image[100:400, 500:600].mean() < image[100:400, 850:900].mean()  # the film beside the leg, the shin


def test_one_brain_in_six_storage_orders_is_one_brain_in_space(awkward):
    from DinoUNetCore.volume.geometry import Slicing

    cuts = []
    for name in ("AIL", "IRP", "LPI", "PSR", "RAS", "SRA"):
        image = read_image(awkward / f"nifti/orient_{name}.nii.gz")
        cuts.append(Slicing.of(Grid.of(image), "axial").cut(sitk.GetArrayFromImage(image)))
    assert len({cut.shape for cut in cuts}) == 1
    for cut in cuts[1:]:
        assert np.array_equal(cut, cuts[0])

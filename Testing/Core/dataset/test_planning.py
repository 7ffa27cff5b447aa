"""The rules of planning, each on sets made for it: plane, spacing, patch, batch, context, normalisation."""

import pytest
from equal_cases import plan_for

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.intensity import ChannelNormalization

SIR = (0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0)  # storage axes run to S, A, L


def test_the_finest_plane_is_anatomical_not_storage_order():
    assert plan_for(spacing=(1.0, 1.0, 3.0)).plane == "axial"
    assert plan_for(spacing=(3.0, 1.0, 1.0)).plane == "sagittal"
    assert plan_for(spacing=(3.0, 1.0, 1.0), direction=SIR).plane == "axial"
    assert plan_for(options={"plane": "coronal"}).plane == "coronal"


def test_slices_of_fitting_size_keep_the_median_spacing():
    plan = plan_for(size=(200, 150, 40), spacing=(0.8, 0.9, 2.0))
    assert plan.spacing == [0.9, 0.8]
    assert plan.patch_size == [160, 224]


def test_a_spacing_that_is_asked_for_is_taken_and_the_patch_follows_it():
    plan = plan_for(size=(200, 150, 40), spacing=(0.8, 0.9, 2.0), options={"spacing": [1.8, 1.6]})
    assert plan.spacing == [1.8, 1.6] and "asked for" in plan.reasons["spacing"]
    assert plan.patch_size == [96, 128]


def test_spacing_follows_the_axes_whatever_the_storage_order():
    stored = plan_for(size=(40, 150, 200), spacing=(2.0, 0.9, 0.8), direction=SIR)
    straight = plan_for(size=(200, 150, 40), spacing=(0.8, 0.9, 2.0))
    assert (stored.spacing, stored.patch_size, stored.spacing_range) == (
        straight.spacing,
        straight.patch_size,
        straight.spacing_range,
    )
    assert stored.spacing_range == [[2.0, 2.0], [0.9, 0.9], [0.8, 0.8]]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPEG", ".tif", ".tiff", ".bmp"])
def test_pictures_count_in_pixels_whatever_resolution_they_store(ending):
    plan = plan_for(size=(300, 200, 1), spacing=(0.0846, 0.0846, 1.0), dimension=2, ending=ending)
    assert (plan.unit, plan.spacing, plan.patch_size) == ("pixel", [1.0, 1.0], [224, 256])
    assert plan.spacing_range == [[1.0, 1.0]] * 3
    assert ending in plan.reasons["unit"]


def test_volumes_and_2d_images_with_a_true_spacing_count_in_mm():
    for options in ({"size": (300, 200, 1), "dimension": 2}, {}, {"ending": ".tif"}):
        plan = plan_for(spacing=(0.5, 0.5, 1.0), **options)
        assert (plan.unit, plan.spacing) == ("mm", [0.5, 0.5])


@pytest.mark.parametrize(
    ("variant", "size", "spacing", "patch"),
    [
        ("tiny", (35, 50, 36), 50 / 96, [96, 96]),  # too small: the longer side becomes 96
        ("tiny", (1000, 800, 1), 1000 / 512, [256, 256]),  # too large: the longer side becomes 512
        ("tiny", (512, 512, 9), 1.0, [256, 256]),
        ("small", (35, 50, 36), 50 / 512, [512, 384]),
        ("small", (800, 600, 9), 1.0, [512, 512]),
        ("small", (4096, 2048, 9), 4.0, [512, 512]),
        ("tiny", (300, 20, 9), 1.0, [64, 256]),  # a patch has 64 pixels at least
    ],
)
def test_slices_too_small_or_too_large_are_scaled_by_one_factor(variant, size, spacing, patch):
    plan = plan_for(variant, size=size)
    assert plan.spacing == pytest.approx([spacing, spacing], rel=1e-5)
    assert plan.patch_size == patch


def test_given_values_are_taken_and_recorded():
    plan = plan_for(options={"patch_size": (96, 64), "batch_size": 5, "context_slices": 1})
    assert (plan.patch_size, plan.batch_size, plan.context_slices) == ([96, 64], 5, 1)
    assert "asked for" in plan.reasons["patch_size"] + plan.reasons["batch_size"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch_size": [100, 100]}, "patch_size in the options must be .*multiples of 32"),
        ({"patch_size": [0, 0]}, "patch_size in the options"),
        ({"patch_size": [128]}, "patch_size in the options"),
        ({"batch_size": 0}, "batch_size in the options must be a whole number"),
        ({"context_slices": 2}, "context_slices in the options must be 1 or 3"),
        ({"plane": "oblique"}, "unknown slicing plane 'oblique'"),
    ],
)
def test_given_values_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_for(options=options)


def test_an_unknown_variant_and_neighbours_of_pictures_are_refused():
    with pytest.raises(UserError, match="variant in the options must be one of tiny, small"):
        plan_for("giant")
    with pytest.raises(UserError, match="context_slices in the plan is 3, which needs volumes"):
        plan_for(size=(99, 99, 1), dimension=2, options={"context_slices": 3})


# batch, context, normalisation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "size", "batch"),
    [
        ("tiny", (128, 128, 9), 8),
        ("tiny", (256, 256, 9), 2),
        ("small", (512, 512, 40), 13),  # 10 cases of 40 slices: 5 % are 20 slices
        ("small", (512, 512, 16), 8),
        ("small", (512, 512, 1), 2),
    ],
)
def test_batch_size(variant, size, batch):
    assert plan_for(variant, size=size).batch_size == batch


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ({"spacing": (1.0, 1.0, 3.0)}, 3),
        ({"spacing": (1.0, 1.0, 3.1)}, 1),
        ({"channels": ("T1", "T2")}, 1),
        ({"size": (200, 150, 1), "dimension": 2}, 1),
        ({"size": (200, 150, 1)}, 1),
    ],
)
def test_neighbouring_slices_are_used_where_they_lie_close(options, context):
    assert plan_for(**options).context_slices == context


@pytest.mark.parametrize("name", ["CT", "ct", "CT (portal venous)", "abdominal_CT"])
def test_ct_channels_get_the_numbers_of_the_labelled_voxels(name):
    plan = plan_for(channels=("PET", name))
    assert plan.normalization == [
        ChannelNormalization("zscore"),
        ChannelNormalization("ct", -150.0, 250.0, 40.0, 60.0),
    ]


@pytest.mark.parametrize("name", ["MR", "OCT", "activity"])
def test_other_channels_are_normalised_by_image(name):
    assert plan_for(channels=(name,)).normalization == [ChannelNormalization("zscore")]


def test_three_colours_are_normalised_together():
    assert plan_for(channels=("R", "G", "B")).normalization == [ChannelNormalization("rgb")] * 3

"""Plans of several planes: one spacing, a patch for the largest plane, and what all planes allow."""

import pytest
from equal_cases import plan_for

from DinoUNetCore.errors import UserError

ALL = ["axial", "coronal", "sagittal"]
LONG = {"size": (200, 150, 160), "spacing": (0.8, 0.9, 1.2)}  # left-right, anterior-posterior, superior-inferior
SIR = (0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0)  # storage axes run to S, A, L


def test_the_planes_are_those_asked_for_the_first_of_which_is_the_plans():
    plan = plan_for(**LONG, options={"planes": ("coronal", "axial")})
    assert (plan.planes, plan.plane) == (["coronal", "axial"], "coronal")
    assert plan.spacing_range == [[0.9, 0.9], [1.2, 1.2], [0.8, 0.8]]  # between coronal slices, their rows and columns
    assert "Coronal and axial slices were asked for" in plan.reasons["planes"]


def test_one_plane_is_planned_as_by_its_name():
    assert plan_for(**LONG, options={"planes": ["coronal"]}) == plan_for(**LONG, options={"plane": "coronal"})


def test_all_axes_get_the_spacing_of_the_plane_with_the_smallest_pixels():
    spacing = (0.8 * 0.9) ** 0.5
    plan = plan_for(**LONG, options={"planes": ALL})
    assert plan.spacing == pytest.approx([spacing, spacing], rel=1e-5) and plan.spacing[0] == plan.spacing[1]
    # coronal slices are the largest: 192 mm by 160 mm
    assert plan.patch_size == [256, 192]
    assert "Axial slices have the smallest pixels" in plan.reasons["spacing"]
    for name in ("spacing", "patch_size"):
        assert "coronal slices are the largest" in plan.reasons[name].casefold()


def test_the_storage_order_does_not_matter():
    stored = plan_for(size=(160, 150, 200), spacing=(1.2, 0.9, 0.8), direction=SIR, options={"planes": ALL})
    assert stored == plan_for(**LONG, options={"planes": ALL})


@pytest.mark.parametrize(("size", "longer"), [((40, 40, 70), 96), ((300, 300, 1500), 512)])
def test_the_largest_plane_is_made_neither_too_small_nor_too_large(size, longer):
    plan = plan_for(size=size, options={"planes": ["axial", "sagittal"]})
    assert plan.spacing == pytest.approx([size[2] / longer] * 2, rel=1e-5)


def test_a_spacing_that_is_asked_for_is_one_number():
    assert plan_for(**LONG, options={"planes": ALL, "spacing": [1.5, 1.5]}).spacing == [1.5, 1.5]
    with pytest.raises(UserError, match=r"--spacing 1 1\.5 differs along rows and columns"):
        plan_for(**LONG, options={"planes": ALL, "spacing": [1.0, 1.5]})


def test_neighbouring_slices_are_used_where_they_lie_close_in_all_planes():
    assert plan_for(**LONG, options={"planes": ALL}).context_slices == 3
    thick = {"spacing": (1.0, 1.0, 4.0)}
    plan = plan_for(**thick, options={"planes": ["coronal", "axial"]})
    assert plan.context_slices == 1 and plan.reasons["context_slices"].startswith("Axial: ")
    assert plan_for(**thick, options={"planes": ["coronal", "sagittal"]}).context_slices == 3


@pytest.mark.parametrize(
    ("labels", "planes", "mirror"),
    [
        (["liver"], ["axial", "coronal"], ["columns"]),  # columns run from right to left in both
        (["liver"], ALL, []),  # in sagittal slices they run from front to back
        (["left lung"], ["axial", "coronal"], []),
    ],
)
def test_an_axis_is_mirrored_only_if_every_plane_allows_it(labels, planes, mirror):
    table = {"background": 0} | {name: value for value, name in enumerate(labels, 1)}
    assert plan_for(**LONG, labels=table, options={"planes": planes}).mirror == mirror


def test_planes_of_thick_slices_are_warned_about():
    plan = plan_for(spacing=(1.0, 1.0, 5.0), options={"planes": ALL})
    (warning,) = plan.warnings
    assert "Pixels of coronal and sagittal slices are up to 5 times as long as they are wide" in warning
    assert plan_for(**LONG, options={"planes": ALL}).warnings == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"planes": ["axial", "oblique"]}, "planes in the options must be a list of one or more of axial"),
        ({"planes": ["axial", "axial"]}, "planes in the options"),
        ({"planes": []}, "planes in the options"),
    ],
)
def test_planes_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_for(options=options)


def test_pictures_have_no_planes():
    with pytest.raises(UserError, match=r"the cases are pictures, .*leave out --planes"):
        plan_for(size=(99, 99, 1), dimension=2, options={"planes": ["axial", "coronal"]})

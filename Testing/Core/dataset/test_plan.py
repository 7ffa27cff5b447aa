"""Plans: each rule on sets made for it, the checks on edited plans, and the plans of real sets."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from DinoUNetCore.dataset.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, make_fingerprint
from DinoUNetCore.dataset.folds import make_folds
from DinoUNetCore.dataset.layout import Case, Dataset, read_dataset
from DinoUNetCore.dataset.mirroring import directed_axes
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.intensity import ChannelNormalization

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIR = (0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0)  # storage axes run to S, A, L
ORGANS = {"background": 0, "liver": 1, "spleen": 2}


def make_cases(count, group=lambda number: str(number)):
    return [
        Case(f"case_{number:02d}", (Path(f"{number}_0000"),), Path(str(number)), group(number))
        for number in range(count)
    ]


def make_set(
    size=(200, 150, 40), spacing=(1.0, 1.0, 1.0), direction=LPS, dimension=3, labels=ORGANS, channels=("MR",), cases=10,
    ending=".nrrd",
):
    """A data set of equal cases and its fingerprint, as they would come from files."""
    listed = make_cases(cases)
    dataset = Dataset(Path("Dataset"), "Dataset", list(channels), labels, ending, listed)
    one = CaseFingerprint(dimension, size, spacing, (0.0, 0.0, 0.0), direction, [], dict.fromkeys(labels, 9))
    channel = ChannelFingerprint(-150.0, 250.0, 40.0, 60.0, -1000.0, 400.0)
    measured = {case.name: one for case in listed}
    return dataset, Fingerprint("Dataset", [channel] * len(channels), dict.fromkeys(labels, 9), measured)


def plan_for(variant="tiny", options=None, **set_options):
    return make_plan(*make_set(**set_options), variant, **(options or {}))


# plane, spacing, patch ------------------------------------------------------------------------------------------------


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


# mirroring ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "axis"),
    [
        ("kidney_left", "left-right"),
        ("RightLung", "left-right"),
        ("Anterior", "anterior-posterior"),
        ("upper lobe", "superior-inferior"),
        ("inferior_vena_cava", "superior-inferior"),
    ],
)
def test_words_of_direction_are_found_in_any_spelling(label, axis):
    assert directed_axes(["liver", label]) == {axis: label}


@pytest.mark.parametrize("label", ["cleft", "bright spot", "vertebra_L1", "topology", "backbone", "Frontal"])
def test_words_that_only_contain_a_direction_are_none(label):
    assert directed_axes([label]) == {}


def test_abbreviations_count_where_labels_come_in_pairs():
    assert set(directed_axes(["kidney_L", "kidney_R"])) == {"left-right"}
    assert directed_axes(["vertebra_L1", "vertebra_L2", "rib R"]) == {}


@pytest.mark.parametrize(
    ("plane", "labels", "mirror"),
    [
        ("axial", ["kidney_left"], []),
        ("coronal", ["kidney_left"], []),
        ("sagittal", ["kidney_left"], []),
        ("axial", ["Anterior", "Posterior"], ["columns"]),
        ("coronal", ["upper lobe"], ["columns"]),
        ("axial", ["liver"], ["columns"]),
        ("sagittal", ["liver"], []),
    ],
)
def test_volumes_are_mirrored_left_to_right_at_most_and_not_where_labels_have_sides(plane, labels, mirror):
    table = {"background": 0, **{name: value for value, name in enumerate(labels, 1)}}
    plan = plan_for(labels=table, options={"plane": plane})
    assert plan.mirror == mirror
    assert "ows are not mirrored" in plan.reasons["mirror"]
    assert ("columns" in mirror) == ("olumns are not" not in plan.reasons["mirror"])


@pytest.mark.parametrize(
    ("label", "mirror"), [("right_lung", ["rows"]), ("top", ["columns"]), ("eye", ["rows", "columns"])]
)
def test_pictures_have_left_and_right_along_their_columns(label, mirror):
    plan = plan_for(size=(300, 200, 1), dimension=2, labels={"background": 0, label: 1})
    assert plan.mirror == mirror


# folds ----------------------------------------------------------------------------------------------------------------


def test_every_case_is_validated_on_once_and_groups_stay_together():
    cases = make_cases(47, group=lambda number: str(number // 3))
    folds = make_folds(cases, seed=12345).validation
    assert Counter(name for fold in folds for name in fold) == Counter(case.name for case in cases)
    fold_of = {name: number for number, fold in enumerate(folds) for name in fold}
    for case in cases:
        assert fold_of[case.name] == fold_of[f"case_{int(case.group) * 3:02d}"]
    sizes = [len(fold) for fold in folds]
    assert len(folds) == 5 and max(sizes) - min(sizes) <= 3


def test_folds_depend_on_the_seed_only():
    cases = make_cases(20)
    assert make_folds(cases, 1).validation == make_folds(cases[::-1], 1).validation
    assert make_folds(cases, 1).validation != make_folds(cases, 2).validation


def test_fewer_groups_than_five_give_as_many_folds():
    folds = make_folds(make_cases(9, group=lambda number: "abc"[number % 3]), seed=0)
    assert [len(fold) for fold in folds.validation] == [3, 3, 3] and folds.warning is None


def test_one_group_is_split_by_case_with_a_warning():
    folds = make_folds(make_cases(4, group=lambda number: "patient"), seed=0)
    assert len(folds.validation) == 4 and "patient" in folds.warning


def test_a_single_case_trains_and_validates_on_itself_with_a_warning():
    plan = plan_for(cases=1)
    assert plan.training_and_validation(0) == (["case_00"], ["case_00"])
    assert plan.validates_on_training_cases
    assert "case_00" in plan.warnings[0]


def test_training_and_validation_share_no_case():
    plan = plan_for(cases=11)
    for fold in range(5):
        training, validation = plan.training_and_validation(fold)
        assert set(training).isdisjoint(validation) and len(training) + len(validation) == 11
    assert not plan.validates_on_training_cases
    with pytest.raises(UserError, match="no fold 5; the plan has the folds 0 to 4"):
        plan.training_and_validation(5)


def test_a_label_that_never_occurs_is_warned_about():
    dataset, fingerprint = make_set()
    fingerprint.label_voxels["spleen"] = 0
    assert any("'spleen' occurs in no case" in text for text in make_plan(dataset, fingerprint, "tiny").warnings)


# the file -------------------------------------------------------------------------------------------------------------


def test_saving_and_loading_changes_nothing(tmp_path):
    plan = plan_for(channels=("CT",))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_the_file_is_short_and_gives_a_reason_for_every_choice(tmp_path):
    plan = plan_for(cases=50)
    plan.save(tmp_path / "plan.json")
    lines = (tmp_path / "plan.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 50
    assert any(line.count("case_") == 10 for line in lines)  # a fold stands on one line
    chosen = {
        *("dimension", "plane", "unit", "spacing", "patch_size", "batch_size", "context_slices", "normalization"),
        *("mirror", "intensity_range", "spacing_range", "folds"),
    }
    assert set(plan.reasons) == chosen
    assert all(text.endswith(".") for text in plan.reasons.values())


def test_reasons_and_warnings_may_be_emptied(tmp_path):
    table = {**plan_for().to_json(), "reasons": {}, "warnings": []}
    assert Plan.from_json(table).reasons == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", "huge"),
        ("variant", ["tiny"]),
        ("dimension", 4),
        ("plane", "finest"),
        ("unit", "cm"),
        ("unit", "pixel"),
        ("spacing", [1.0]),
        ("spacing", [1.0, 0]),
        ("spacing", [1.0, math.nan]),
        ("spacing", 1.0),
        ("patch_size", [128, 100]),
        ("patch_size", [128, 32]),
        ("patch_size", [128.0, 128]),
        ("patch_size", "128"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("context_slices", 2),
        ("normalization", []),
        ("normalization", [{"scheme": "minmax"}]),
        ("normalization", [{"scheme": "ct", "low": 0, "high": 1}]),
        ("normalization", [{"scheme": "rgb"}]),
        ("normalization", [{"scheme": "zscore"}, {"scheme": "zscore"}]),
        ("mirror", ["rows", "rows"]),
        ("mirror", ["left"]),
        ("mirror", "rows"),
        ("channel_names", []),
        ("labels", {"liver": 1}),
        ("labels", {"background": 0, "liver": "1"}),
        ("labels", {"background": 0, "liver": 1, "spleen": 1}),
        ("intensity_range", [[5, 1]]),
        ("intensity_range", [[0, 1], [0, 1]]),
        ("spacing_range", [[1, 1]]),
        ("folds", []),
        ("folds", [["case_00"], []]),
        ("folds", [["case_00"], ["case_00"]]),
        ("folds", ["case_00"]),
        ("warnings", "none"),
        ("reasons", ["because"]),
        ("version", 99),
    ],
)
def test_an_edited_field_that_cannot_be_is_named(tmp_path, field, value):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**plan_for().to_json(), field: value}), encoding="utf-8")
    with pytest.raises(UserError, match=rf"^{field} in .*plan\.json "):
        Plan.load(file)


def test_a_plan_that_knows_no_unit_yet_counts_in_mm():
    table = plan_for(size=(300, 200, 1), dimension=2, ending=".png").to_json()
    del table["unit"]
    assert Plan.from_json(table).unit == "mm"


def test_missing_and_unknown_fields_are_named(tmp_path):
    table = plan_for().to_json()
    with pytest.raises(UserError, match="unknown field 'patchsize'"):
        Plan.from_json({**table, "patchsize": [64, 64]})
    del table["spacing"]
    with pytest.raises(UserError, match="lacks the field 'spacing'"):
        Plan.from_json(table)
    with pytest.raises(UserError, match="must hold a JSON object"):
        Plan.from_json([table])


# the plan and its data set --------------------------------------------------------------------------------------------


def test_a_plan_fits_the_set_it_was_made_for():
    dataset, fingerprint = make_set()
    assert make_plan(dataset, fingerprint, "tiny").check_against(dataset) == []


def test_a_plan_for_other_channels_labels_or_cases_is_refused():
    dataset, fingerprint = make_set()
    plan = make_plan(dataset, fingerprint, "tiny")
    for other, sentence in (
        (make_set(channels=("CT",))[0], "the plan is for the channels MR"),
        (make_set(labels={"background": 0, "liver": 2, "spleen": 1})[0], "the plan is for the labels"),
        (make_set(cases=9)[0], "name the case 'case_09', which"),
    ):
        with pytest.raises(UserError, match=sentence):
            plan.check_against(other)


def test_cases_left_out_and_groups_torn_apart_are_told():
    dataset, fingerprint = make_set()
    plan = make_plan(dataset, fingerprint, "tiny")
    plan.folds = [["case_00"], ["case_01"]]
    (note,) = plan.check_against(dataset)
    assert "8 case(s) are in no fold" in note
    paired = Dataset(Path("D"), "D", ["MR"], ORGANS, ".nrrd", make_cases(2, group=lambda number: "patient"))
    (note,) = plan.check_against(paired)
    assert "patient" in note and "several folds" in note


# real sets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Dataset511_TotalSegCT",
            {"plane": "axial", "patch_size": [128, 128], "context_slices": 3, "mirror": [], "dimension": 3},
        ),
        (
            "Dataset522_CHASEDB1",
            {"patch_size": [256, 256], "context_slices": 1, "mirror": ["rows", "columns"], "dimension": 2},
        ),
        ("Dataset523_CXRLungs", {"patch_size": [256, 256], "mirror": ["rows"], "dimension": 2, "unit": "pixel"}),
    ],
)
def test_plans_of_real_sets(shared, name, expected):
    dataset = read_dataset(shared / "data" / name)
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    assert {field: getattr(plan, field) for field in expected} == expected
    assert plan.check_against(dataset) == []


def test_the_hippocampus_plan_keeps_subjects_together_and_front_and_back_apart(shared):
    dataset = read_dataset(shared / "data" / "Dataset004_Hippocampus")
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    assert (plan.spacing, plan.patch_size, plan.mirror) == ([0.520833, 0.520833], [96, 96], ["columns"])
    group_of = {case.name: case.group for case in dataset.cases}
    for fold in range(5):
        training, validation = plan.training_and_validation(fold)
        assert {group_of[name] for name in training}.isdisjoint(group_of[name] for name in validation)

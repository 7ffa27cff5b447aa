"""Plans that people have edited: each field that cannot be is named."""

import json
import math

import pytest
from equal_cases import plan_for

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError


def test_reasons_and_warnings_may_be_emptied(tmp_path):
    table = {**plan_for().to_json(), "reasons": {}, "warnings": []}
    assert Plan.from_json(table).reasons == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", "huge"),
        ("variant", ["tiny"]),
        ("dimension", 4),
        ("planes", ["finest"]),
        ("planes", "axial"),
        ("planes", []),
        ("planes", ["axial", "axial"]),
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


def test_a_plan_that_knows_one_plane_only_is_read():
    table = plan_for(spacing=(3.0, 1.0, 1.0)).to_json()
    assert table.pop("planes") == ["sagittal"]
    plan = Plan.from_json({**table, "plane": "coronal"})
    assert (plan.planes, plan.plane) == (["coronal"], "coronal")
    with pytest.raises(UserError, match="lacks the field 'planes'"):
        Plan.from_json(table)


def test_several_planes_need_volumes_and_one_spacing():
    table = plan_for(options={"planes": ["axial", "coronal"], "context_slices": 1}).to_json()
    with pytest.raises(UserError, match=r"^spacing in the plan differs along rows and columns"):
        Plan.from_json({**table, "spacing": [1.0, 1.5]})
    with pytest.raises(UserError, match=r"^planes in the plan are several, which is for volumes"):
        Plan.from_json({**table, "dimension": 2})


def test_missing_and_unknown_fields_are_named(tmp_path):
    table = plan_for().to_json()
    with pytest.raises(UserError, match="unknown field 'patchsize'"):
        Plan.from_json({**table, "patchsize": [64, 64]})
    del table["spacing"]
    with pytest.raises(UserError, match="lacks the field 'spacing'"):
        Plan.from_json(table)
    with pytest.raises(UserError, match="must hold a JSON object"):
        Plan.from_json([table])

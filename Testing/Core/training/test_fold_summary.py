"""The numbers of a cross-validation, their table, picture and page."""

import json
from statistics import stdev
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from DinoUNetCore.metrics import METRICS
from DinoUNetCore.training.fold_picture import draw_folds
from DinoUNetCore.training.fold_report import write_fold_report
from DinoUNetCore.training.fold_summary import FoldResult, number_with_spread, summarise_folds, text_table
from DinoUNetCore.volume.labels import default_labels

NAMES = {"liver": 1, "cost $ of a$b": 2, "absent": 3}


def measures(dice):
    if dice is None:
        return dict.fromkeys(METRICS) | {"prediction_voxels": 0, "reference_voxels": 0}
    distances = dict.fromkeys(("hd95", "asd", "assd"), 10 * (1 - dice))
    return {"dice": dice, "nsd": dice, **distances, "prediction_voxels": 9 if dice else 0, "reference_voxels": 9}


def case(*dice):
    return {name: measures(value) for name, value in zip(NAMES, dice, strict=True)}


@pytest.fixture
def summary():
    folds = [
        FoldResult(0, {"a": case(0.9, 0.5, None), "b": case(0.8, None, None)}, {"epochs": 5, "training_cases": 3}),
        FoldResult(1, {"c": case(0.7, 0.0, None)}, {"epochs": 6}),
        FoldResult(2, {"d": case(0.6, 0.7, None), "e": case(None, None, None)}, {}),
    ]
    table = summarise_folds(folds, "mm")
    tried = {"liver": {"dice": [0.7, 0.75], "hd95": [2.5, 2.5]}}
    return table | {"postprocessing": {"keep_largest": ["liver"], "tried": tried}}


def test_means_and_spreads_are_over_cases_and_over_folds(summary):
    liver, other, absent = (summary["labels"][name] for name in NAMES)
    assert liver["dice"]["mean"] == pytest.approx(0.75)
    assert liver["dice"]["sd_cases"] == pytest.approx(stdev([0.9, 0.8, 0.7, 0.6]))
    assert liver["dice"]["sd_folds"] == pytest.approx(stdev([0.85, 0.7, 0.6]))
    assert (liver["cases"], other["cases"], other["missed"], absent["cases"]) == (4, 3, 1, 0)
    assert absent["dice"] == {"mean": None, "sd_cases": None, "sd_folds": None}
    assert summary["mean"]["dice"]["mean"] == pytest.approx((0.75 + 0.4) / 2)
    assert summary["mean"]["dice"]["sd_cases"] == pytest.approx(stdev([0.7, 0.8, 0.35, 0.65]))
    assert [fold["cases"] for fold in summary["folds"]] == [["a", "b"], ["c"], ["d", "e"]]
    assert summary["folds"][0]["epochs"] == 5 and summary["cases"]["d"]["fold"] == 2
    json.dumps(summary, allow_nan=False)


def test_a_single_fold_has_no_spread():
    alone = summarise_folds([FoldResult(0, {"a": case(0.9, 0.5, None)}, {})], "pixel")
    assert alone["labels"]["liver"]["dice"] == {"mean": 0.9, "sd_cases": None, "sd_folds": None}
    assert number_with_spread(alone["labels"]["liver"]["dice"], "sd_folds", 2) == "0.90"


def test_the_table_names_means_and_spreads_over_the_folds(summary):
    lines = text_table(summary).splitlines()
    assert lines[0].split() == ["Dice", "HD95", "mm"]
    assert lines[1].split() == ["liver", "0.750", "±", "0.126", "2.50", "±", "1.26"]
    assert lines[3].split() == ["absent", "-", "-"]
    assert lines[4].startswith("mean ")
    assert len({len(line) for line in lines}) == 1


def test_the_picture_shows_structures_in_their_colours_whatever_their_names_and_values(summary, tmp_path):
    labels = default_labels(NAMES)
    draw_folds(tmp_path / "folds.png", summary, labels, "Cost $ of a$b")
    pixels = (255 * matplotlib.image.imread(tmp_path / "folds.png")[..., :3]).round().astype(int)
    assert pixels.shape[1] > 1000
    for label, drawn in zip(labels, (True, True, False), strict=True):
        box = np.round((255 + np.array(label.color)) / 2)
        assert (np.abs(pixels - box).max(axis=2) <= 1).sum() > 200 or not drawn
    nothing = summarise_folds([FoldResult(0, {"a": case(None, None, None)}, {})], "mm")
    draw_folds(tmp_path / "nothing.png", nothing, labels, "Nothing")
    with_one = summarise_folds([FoldResult(0, {"a": case(1.0, None, None)}, {})], "pixel")
    draw_folds(tmp_path / "one.png", with_one, labels, "One")


def test_the_report_holds_every_case_and_the_rule(summary, tmp_path):
    (tmp_path / "folds.png").write_bytes(b"a picture")
    plan = SimpleNamespace(warnings=["the spleen is <missing>."])
    dataset = SimpleNamespace(cases=[SimpleNamespace(images=[None, None])], file_ending=".nrrd")
    write_fold_report(
        tmp_path / "report.html",
        summary,
        dataset,
        plan,
        title="Cost $ & more",
        pictures=[(tmp_path / "folds.png", "All cases"), (tmp_path / "not there.png", "Nothing")],
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for expected in ("Cost $ &amp; more", "0.750 ± 0.126", "&lt;missing&gt;", "largest piece is kept of: liver",
                     "was best by its Dice on patches of the same cases", "CHANNEL1.nrrd CHANNEL2.nrrd"):  # fmt: skip
        assert expected in text
    assert text.count("<img") == 1 and "Nothing" not in text
    folds = text[text.index("best epoch") :]
    assert folds.index("mean HD95") < folds.index("Dice: liver"), "the means are seen however many structures there are"
    order = [text.index(f"<td>{name}</td>") for name in ("c", "d", "a", "b", "e")]
    assert order == sorted(order)

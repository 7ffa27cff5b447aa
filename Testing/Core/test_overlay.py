import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.overlay import OverlayRow, save_overlay
from DinoUNetCore.volume.labels import Label

RED, BLUE = Label("red", 1, (255, 0, 0)), Label("blue", 7, (0, 0, 255))


def square(value: int = 1, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[10:30, 20:40] = value
    return labels


def drawn(path) -> np.ndarray:
    """(H, W, 3) as float: differences of bytes would wrap round."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3].astype(float)


def panels(picture: np.ndarray, columns: int) -> list[np.ndarray]:
    """The picture in `columns` upright strips, without its title and legend."""
    height = len(picture)
    return np.array_split(picture[height // 4 : -height // 4], columns, axis=1)


def redness(picture: np.ndarray) -> int:
    return int((picture[..., 0] - picture[..., 2] > 60).sum())


def blueness(picture: np.ndarray) -> int:
    return int((picture[..., 2] - picture[..., 0] > 60).sum())


@pytest.fixture
def grey() -> np.ndarray:
    return np.tile(np.linspace(0, 1, 60), (40, 1))


def test_reference_and_prediction_are_drawn_in_their_columns_in_their_colours(tmp_path, grey):
    save_overlay(tmp_path / "a.png", [OverlayRow("case", grey, square(1), square(7))], [RED, BLUE], "Title")
    image, reference, prediction = panels(drawn(tmp_path / "a.png"), 3)
    assert redness(reference) > 5000 and blueness(reference) == 0
    assert blueness(prediction) > 5000 and redness(prediction) == 0
    assert redness(image) == blueness(image) == 0


def test_a_column_that_no_row_fills_is_left_out(tmp_path, grey):
    both = [OverlayRow("a", grey, square(), square()), OverlayRow("b", grey, square())]
    one = [OverlayRow("a", grey, None, square()), OverlayRow("b", grey)]
    none = [OverlayRow("a", grey)]
    for count, rows in ((3, both), (2, one), (1, none)):
        save_overlay(tmp_path / f"{count}.png", rows, [RED])
    image, prediction = panels(drawn(tmp_path / "2.png"), 2)
    assert redness(image) == 0 and redness(prediction) > 0
    widths = [drawn(tmp_path / f"{count}.png").shape[1] for count in (1, 2, 3)]
    assert widths == sorted(set(widths))


def test_pixels_keep_their_physical_shape(tmp_path, grey):
    """A square of 20 x 20 pixels that are twice as high as wide is drawn twice as high as wide."""
    save_overlay(tmp_path / "a.png", [OverlayRow("case", grey, None, square(), aspect=2.0)], [RED])
    picture = drawn(tmp_path / "a.png")
    rows, columns = np.nonzero((picture[..., 0] - picture[..., 2] > 60)[: -picture.shape[0] // 10])  # not the legend
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(2.0, rel=0.03)


def test_a_bright_spot_does_not_darken_the_image(tmp_path, grey):
    spotted = grey.copy()
    spotted[0, 0] = 1e6
    save_overlay(tmp_path / "plain.png", [OverlayRow("", grey)], [])
    save_overlay(tmp_path / "spotted.png", [OverlayRow("", spotted)], [])
    plain, other = (drawn(tmp_path / name).mean() for name in ("plain.png", "spotted.png"))
    assert other == pytest.approx(plain, rel=0.05)


def test_a_window_sets_black_and_white(tmp_path, grey):
    save_overlay(tmp_path / "dark.png", [OverlayRow("", grey, window=(1.0, 2.0))], [])
    save_overlay(tmp_path / "bright.png", [OverlayRow("", grey, window=(-2.0, 0.0))], [])
    dark, bright = (drawn(tmp_path / name) for name in ("dark.png", "bright.png"))
    middle = (slice(dark.shape[0] // 3, -dark.shape[0] // 3), slice(dark.shape[1] // 3, -dark.shape[1] // 3))
    assert dark[middle].max() < 5 and bright[middle].min() > 250


def test_colour_images_keep_their_colours(tmp_path):
    image = np.zeros((30, 30, 3), np.uint8)
    image[:15, :, 0] = 200
    image[15:, :, 2] = 200
    save_overlay(tmp_path / "a.png", [OverlayRow("", image)], [])
    picture = drawn(tmp_path / "a.png")
    assert redness(picture) > 20000 and blueness(picture) > 20000


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -5.0])
def test_images_without_contrast_are_drawn(tmp_path, value):
    save_overlay(tmp_path / "a.png", [OverlayRow("", np.full((20, 30), value), square(1, (40, 60))[::2, ::2])], [RED])
    assert redness(drawn(tmp_path / "a.png")) > 0


def test_labels_of_one_pixel_at_the_edge_and_of_a_whole_slice_are_drawn(tmp_path):
    corner = np.zeros((20, 20), int)
    corner[0, 0] = 1
    save_overlay(tmp_path / "a.png", [OverlayRow("", np.zeros((20, 20)), corner, np.full((20, 20), 7))], [RED, BLUE])
    _, reference, prediction = np.array_split(drawn(tmp_path / "a.png"), 3, axis=1)
    assert redness(reference[: len(reference) // 2]) > 50
    assert blueness(prediction) > 50000


def test_the_legend_names_only_labels_that_occur(tmp_path, grey):
    rows = [OverlayRow("", grey, square())]
    save_overlay(tmp_path / "one.png", rows, [RED])
    save_overlay(tmp_path / "two.png", rows, [RED, BLUE])
    assert np.array_equal(drawn(tmp_path / "one.png"), drawn(tmp_path / "two.png"))


def test_values_without_a_label_are_shown_too(tmp_path, grey):
    save_overlay(tmp_path / "none.png", [OverlayRow("", grey * 0, square(0))], [RED])
    save_overlay(tmp_path / "unknown.png", [OverlayRow("", grey * 0, square(9))], [RED])
    none, unknown = (int((drawn(tmp_path / name) > 100).sum()) for name in ("none.png", "unknown.png"))
    assert unknown > none + 10000


def test_twenty_labels_and_names_that_look_like_formulas_fit(tmp_path, grey):
    labels = [Label(f"a $rather_{{long}} name^{value}", value, (200, 5 * value, 80)) for value in range(1, 21)]
    values = np.zeros((40, 60), int)
    values[5:35, 10:50] = np.arange(1, 21).repeat(2)
    save_overlay(tmp_path / "a.png", [OverlayRow("case_$1$, 50 %", grey, values)], labels, "$5 & 100 %")
    assert drawn(tmp_path / "a.png").shape[0] > 300


def test_global_state_of_matplotlib_is_left_alone(tmp_path, grey):
    import matplotlib

    before = dict(matplotlib.rcParams)
    save_overlay(tmp_path / "a.png", [OverlayRow("", grey, square())], [RED])
    assert dict(matplotlib.rcParams) == before


def test_a_picture_that_cannot_be_written_is_told_with_its_name_and_leaves_nothing(tmp_path, grey):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"a\.png"):
        save_overlay(tmp_path / "file" / "a.png", [OverlayRow("", grey)], [])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "row",
    [
        {"image": np.zeros((4, 4, 2))},
        {"image": np.zeros(4)},
        {"image": np.zeros((0, 4))},
        {"image": np.zeros((4, 4)), "reference": np.zeros((4, 5))},
        {"image": np.zeros((4, 4)), "prediction": np.zeros((5, 4))},
        {"image": np.zeros((4, 4)), "aspect": 0.0},
    ],
)
def test_rows_that_do_not_fit_together_are_refused(row):
    with pytest.raises(ValueError):
        OverlayRow("", **row)


def test_an_overlay_needs_a_row(tmp_path):
    with pytest.raises(ValueError, match="row"):
        save_overlay(tmp_path / "a.png", [], [])

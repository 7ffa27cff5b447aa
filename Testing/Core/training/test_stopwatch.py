import csv

import pytest

from DinoUNetCore.training.report import write_log
from DinoUNetCore.training.stopwatch import LEARNING, VALIDATING, WAITING, Stopwatch, where_time_went


class Clock:
    """Goes on when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def an_epoch(watch, clock, waiting, learning):
    def batches():
        for batch in range(4):
            clock.now += waiting
            yield batch

    for _ in watch.each(WAITING, batches()):
        with watch(LEARNING):
            clock.now += learning
    with watch(VALIDATING):
        clock.now += 10


def test_a_lap_tells_seconds_per_stage_and_patches_per_second(clock):
    watch = Stopwatch(clock)
    an_epoch(watch, clock, 1, 3)
    assert watch.lap(patches=32) == {
        "stages": {WAITING: 4, LEARNING: 12, VALIDATING: 10},
        "patches_per_second": 2.0,
        "waiting": 0.25,
    }
    an_epoch(watch, clock, 0, 1)
    assert watch.lap(patches=8)["stages"][LEARNING] == 4  # begins anew


def test_time_within_a_block_that_fails_is_counted(clock):
    watch = Stopwatch(clock)
    with pytest.raises(ValueError, match="broken"), watch(LEARNING):
        clock.now += 5
        raise ValueError("broken")
    assert watch.lap(0)["stages"] == {LEARNING: 5}


def test_without_patches_there_is_no_speed():
    assert Stopwatch().lap(0) == {"stages": {}, "patches_per_second": None, "waiting": None}


def test_the_slowest_stage_comes_first_in_words(clock):
    watch = Stopwatch(clock)
    an_epoch(watch, clock, 0.1, 10)
    text = where_time_went([watch.lap(8), {"epoch": 1}])
    assert text == f"Where the time went (50 seconds): {LEARNING} 79 %, {VALIDATING} 20 %, {WAITING} 1 %."
    an_epoch(watch, clock, 10, 1)
    assert "--workers" in where_time_went([watch.lap(8)])
    assert where_time_went([{"epoch": 1}]) == ""


def test_the_log_has_columns_for_speed_which_older_rows_leave_empty(tmp_path):
    row = {"epoch": 1, "loss": 0.5, "mean_dice": None, "dice": [None], "learning_rate": 0.001, "seconds": 12.0}
    write_log(tmp_path / "log.csv", [row, {**row, "epoch": 2, "patches_per_second": 31.25, "waiting": 0.25}], ["ball"])
    first, second = csv.DictReader((tmp_path / "log.csv").open(encoding="utf-8"))
    assert (first["patches_per_second"], first["waiting"], first["dice_ball"]) == ("", "", "")
    assert (second["patches_per_second"], second["waiting"], second["seconds"]) == ("31.2", "0.250", "12.0")

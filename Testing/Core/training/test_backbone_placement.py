"""Processes choose together where they keep a frozen backbone."""

from dataclasses import replace

import pytest
import torch
from joined_processes import in_processes

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.training.backbone_placement import place_together
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.placement import TRAINING_RESERVE, size_in

FROZEN = Settings("data", variant="small", device="cpu", precision="float32")


def with_room(share):
    """A device that has room for this share of the backbone, beside what training needs."""
    with torch.device("meta"):
        whole = size_in(Backbone(VARIANTS["small"].vit, VARIANTS["small"].taps), torch.float32)
    return lambda device: TRAINING_RESERVE + int(share * whole)


def choose_in_many_ways(processes):
    """By name, where this process keeps the backbone; the second one has less room."""
    rooms = {"all have room": 1.1, "one has no room": 0.9, "one has room for nothing": 0.1}
    wheres = {
        name: place_together(FROZEN, processes, with_room(room if processes.rank else 1.1)).where
        for name, room in rooms.items()
    }
    asked = place_together(replace(FROZEN, shard_backbone=True), processes)
    trained = place_together(replace(FROZEN, train_backbone=True), processes)
    return wheres | {"asked for": asked.where, "group": asked.group.size(), "trained": trained}


@pytest.fixture(scope="module")
def chosen():
    return in_processes(2, choose_in_many_ways)


def test_it_is_shared_out_by_all_where_one_has_no_room_or_the_user_wants_it(chosen):
    for one in chosen:
        assert one["all have room"] == "device"
        assert one["one has no room"] == "processes"
        assert one["asked for"] == "processes" and one["group"] == 2


def test_where_one_has_no_room_even_for_its_share_each_goes_its_own_way(chosen):
    assert [one["one has room for nothing"] for one in chosen] == ["device", "disk"]


def test_a_trained_backbone_has_no_choice(chosen):
    assert [one["trained"] for one in chosen] == [None, None]
    assert place_together(Settings("data", variant="tiny", device="cpu")) is None


def test_a_process_alone_shares_with_nobody():
    assert place_together(replace(FROZEN, shard_backbone=True), free=with_room(1.1)).where == "device"
    assert place_together(FROZEN, free=with_room(0.9)).where == "disk"


def test_processes_on_one_computer_share_its_memory(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert place_together(FROZEN, free=with_room(1.9)).where == "disk"
    assert place_together(FROZEN, free=with_room(2.1)).where == "device"

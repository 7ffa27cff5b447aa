"""How many patches fit into a device's memory, with the bytes given; no GPU is needed."""

import pytest
import torch
from equal_cases import make_set

from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.device_room import DeviceRoom, _kept_for_backward

GB = 10**9


def test_what_is_counted_without_memory_is_what_a_real_network_keeps():
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            counts.append(_kept_for_backward(DinoUNet("tiny", 3, 3).train(), torch.zeros(1, 3, 96, 64)))
    assert counts[1] == pytest.approx(counts[0], rel=0.05) and counts[0] > 5e6


def test_more_memory_holds_more_patches_and_larger_ones_take_more():
    patches = [DeviceRoom(free * GB, "tiny", 3).patches((128, 128), 1) for free in (1, 2, 4)]
    assert 2 < patches[0] < patches[1] < patches[2]
    assert DeviceRoom(2 * GB, "tiny", 3).patches((256, 256), 1) < patches[1] / 3.5
    assert DeviceRoom(10**7, "tiny", 3).patches((128, 128), 1) == 0


def test_a_trained_backbone_and_many_classes_take_more_and_short_numbers_less():
    usual = DeviceRoom(16 * GB, "small", 3).patches((256, 256), 3)
    assert DeviceRoom(16 * GB, "small", 3, train_backbone=True).patches((256, 256), 3) < usual
    assert DeviceRoom(16 * GB, "small", 120).patches((256, 256), 3) < usual
    assert DeviceRoom(16 * GB, "small", 3, dtype=torch.bfloat16).patches((256, 256), 3) > usual


def test_a_frozen_backbone_that_is_shared_out_leaves_room_for_more():
    def patches(free, **options):
        return DeviceRoom(free * GB, "huge_plus", 3, dtype=torch.bfloat16, **options).patches((256, 256), 3)

    whole = patches(24)
    assert patches(24, processes=4) == whole  # it has room, so nobody shares it unasked
    assert patches(24, processes=4, shard_backbone=True) > whole
    assert patches(24, processes=1, shard_backbone=True) == whole
    assert patches(7, processes=4) < patches(7)  # where it has none, a share is kept instead of nothing


def test_the_authors_batch_fits_into_the_memory_of_a_usual_gpu():
    assert DeviceRoom(24 * GB, "small", 5, dtype=torch.bfloat16).patches((512, 512), 1) >= 13


def plan_in(free, variant="tiny", options=None, **set_options):
    dataset, fingerprint = make_set(**set_options)
    room = None if free is None else DeviceRoom(free, variant, len(dataset.labels))
    return make_plan(dataset, fingerprint, variant, room=room, **(options or {}))


def test_a_large_memory_changes_no_choice():
    plan, usual = plan_in(80 * GB), plan_in(None)
    assert (plan.batch_size, plan.patch_size) == (usual.batch_size, usual.patch_size)
    assert plan.reasons["batch_size"].startswith(usual.reasons["batch_size"][:-1] + "; the device's 80 GB")


def test_a_small_memory_makes_the_batch_smaller_and_says_so():
    plan = plan_in(GB // 3, size=(128, 128, 40))
    assert plan.patch_size == [128, 128]
    assert 2 <= plan.batch_size < plan_in(None, size=(128, 128, 40)).batch_size
    assert f"but the device's 0.333 GB of free memory have room for about {plan.batch_size}." in (
        plan.reasons["batch_size"]
    )


def test_a_very_small_memory_makes_the_patch_smaller_too():
    plan = plan_in(GB // 5, size=(256, 192, 40))
    assert plan.patch_size[0] < 192 or plan.patch_size[1] < 256
    assert plan.batch_size == 2
    assert "made smaller than 192 x 256" in plan.reasons["patch_size"]


def test_what_is_asked_for_is_not_changed():
    plan = plan_in(GB // 5, size=(256, 192, 40), options={"patch_size": [192, 256]})
    assert (plan.patch_size, plan.batch_size) == ([192, 256], 1)
    plan = plan_in(GB // 5, size=(256, 192, 40), options={"batch_size": 9})
    assert (plan.patch_size, plan.batch_size) == ([192, 256], 9)

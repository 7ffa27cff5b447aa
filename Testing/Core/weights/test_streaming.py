"""A backbone whose blocks come and go gives the numbers of one that stays."""

import pytest
import torch
from backbone_files import metas_form
from safetensors.torch import save_file

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone
from DinoUNetCore.weights.placement import RESERVE, Placement, choose_placement, free_memory, place_backbone, size_in
from DinoUNetCore.weights.streaming import stream_backbone

CONFIG, TAPS = ViTConfig(dim=64, depth=4, heads=4), (0, 1, 2, 3)
CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    backbone = Backbone(CONFIG, TAPS)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(metas_form(backbone, backbone.rope_periods.bfloat16()), tmp_path / "meta.pth")
    return BackboneWeights(tmp_path / "meta.pth")


def empty() -> Backbone:
    with torch.device("meta"):
        return Backbone(CONFIG, TAPS).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("in_memory", [True, False])
def test_streamed_blocks_give_the_same_numbers(weights, in_memory, dtype):
    whole, streamed = empty(), empty()
    load_backbone(whole, weights, dtype=dtype)
    stream_backbone(streamed, weights, CPU, dtype, in_memory)
    assert streamed.loaded_sha256 == whole.loaded_sha256
    with torch.inference_mode():
        for _ in range(2):
            x = torch.randn(2, 3, 64, 96)
            assert all(torch.equal(a, b) for a, b in zip(streamed(x), whole(x), strict=True))


def test_no_block_keeps_its_weights(weights):
    streamed = empty()
    stream_backbone(streamed, weights, CPU, torch.float32, in_memory=False)
    with torch.inference_mode():
        streamed(torch.randn(1, 3, 64, 64))
    assert all(parameter.is_meta for parameter in streamed.vit.blocks.parameters())
    assert not streamed.vit.norm.weight.is_meta


def test_a_pass_that_was_broken_off_does_not_harm_the_next_one(weights):
    whole, streamed = empty(), empty()
    load_backbone(whole, weights)
    stream_backbone(streamed, weights, CPU, torch.float32, in_memory=True)
    hook = streamed.vit.blocks[1].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        with pytest.raises(KeyboardInterrupt):
            streamed(x)
        hook.remove()
        assert all(torch.equal(a, b) for a, b in zip(streamed(x), whole(x), strict=True))


def test_a_file_that_vanishes_is_named(weights):
    streamed = empty()
    stream_backbone(streamed, weights, CPU, torch.float32, in_memory=False)
    weights.path.unlink()
    with torch.inference_mode(), pytest.raises(UserError, match=r"meta\.pth"):
        streamed(torch.randn(1, 3, 64, 64))


def test_gradients_pass_beside_a_streamed_backbone(weights):
    streamed = empty()
    stream_backbone(streamed, weights, CPU, torch.float32, in_memory=True)
    head = torch.nn.Conv2d(64, 1, 1)
    head(streamed(torch.randn(1, 3, 64, 64))[3]).sum().backward()
    assert head.weight.grad.abs().sum() > 0


def test_what_has_room_stays_on_the_device():
    assert choose_placement(empty(), CPU, None) == Placement("device", torch.float32)
    assert size_in(empty(), torch.bfloat16) * 2 == size_in(empty(), torch.float32)
    assert free_memory(CPU) > 0


@pytest.mark.parametrize(
    ("device", "room", "memory", "dtype", "expected"),
    [
        ("cpu", 1.1, 1.1, None, ("device", torch.float32)),
        ("cpu", 0.6, 0.6, None, ("device", torch.bfloat16)),
        ("cpu", 0.4, 0.4, None, ("disk", torch.bfloat16)),
        ("cpu", 0.6, 0.6, torch.float32, ("disk", torch.float32)),
        ("cuda", 0.6, 2.0, torch.float16, ("device", torch.float16)),
        ("cuda", 0.4, 2.0, torch.float16, ("memory", torch.float16)),
        ("cuda", 0.4, 0.4, torch.float16, ("disk", torch.float16)),
        ("mps", 0.6, 0.6, None, ("device", torch.bfloat16)),
    ],
)
def test_without_room_the_backbone_gets_shorter_then_is_streamed(device, room, memory, dtype, expected):
    """room, memory: what device and computer have free beside the reserve, in sizes of the float32 backbone."""
    whole = size_in(empty(), torch.float32)
    free = {device: RESERVE + int(room * whole)} | ({"cpu": RESERVE + int(memory * whole)} if device != "cpu" else {})
    placement = choose_placement(empty(), torch.device(device), dtype, free=lambda device: free[device.type])
    assert (placement.where, placement.dtype) == expected
    if placement.where != "device":
        assert f"the {'disk' if placement.where == 'disk' else 'computer'}" in placement.note
        assert "s more each time" in placement.note
    else:
        assert bool(placement.note) == (dtype is None and placement.dtype != torch.float32)


def test_a_placement_is_carried_out(weights):
    x = torch.randn(1, 3, 64, 64)
    expected = None
    for where in ("device", "memory", "disk"):
        backbone = empty()
        place_backbone(backbone, weights, CPU, Placement(where, torch.float32))
        with torch.inference_mode():
            answer = backbone(x)
        expected = expected or answer
        assert all(torch.equal(a, b) for a, b in zip(answer, expected, strict=True))


def test_weights_that_do_not_fit_are_refused_before_anything_is_streamed(tmp_path):
    save_file(Backbone(ViTConfig(32, 2, 2), (0,)).vit.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors"):
        stream_backbone(empty(), BackboneWeights(tmp_path / "other.safetensors"), CPU, torch.float32, True)

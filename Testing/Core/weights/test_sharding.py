"""A backbone that processes share out gives the numbers of a whole one, and each keeps its part only."""

import gc
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbone_files import metas_form
from joined_processes import in_processes

from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone
from DinoUNetCore.weights.placement import (
    RESERVE,
    choose_placement,
    place_backbone,
    share_among,
    share_in,
    size_in,
)
from DinoUNetCore.weights.sharding import BlockLayout, share_backbone

# gated, with sizes that are no powers of two
CONFIG, TAPS = ViTConfig(dim=48, depth=5, heads=3, mlp_ratio=2.5, swiglu_align=8), (0, 1, 3, 4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(1)
    backbone = Backbone(CONFIG, TAPS)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "meta.pth"
    torch.save(metas_form(backbone, backbone.rope_periods.bfloat16()), path)
    return path


def empty(taps=TAPS) -> Backbone:
    with torch.device("meta"):
        return Backbone(CONFIG, taps).eval()


def shared_and_whole(processes, file, dtype=torch.float32, taps=TAPS):
    shared, whole = empty(taps), empty(taps)
    share_backbone(shared, BackboneWeights(file), CPU, dtype, processes.new_group())
    load_backbone(whole, BackboneWeights(file), dtype=dtype)
    return shared, whole


def agree(shared, whole, seed, mode=torch.inference_mode) -> bool:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1 + seed % 3, 3, 64, 32 * (1 + seed % 2), generator=generator)
    with mode():
        return all(torch.equal(a, b) for a, b in zip(shared(x), whole(x), strict=True))


def held() -> int:
    """Bytes of all tensors there are."""
    gc.collect()
    tensors = [item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if not t.is_meta}
    return sum(storages.values())


LEAVING = """
import sys
import torch
from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.training.processes import joined
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.sharding import share_backbone

with torch.device("meta"):
    backbone = Backbone(ViTConfig(dim=48, depth=5, heads=3, mlp_ratio=2.5, swiglu_align=8), (4,))
with joined() as processes:
    share_backbone(backbone, BackboneWeights(sys.argv[1]), torch.device("cpu"), torch.float32, processes.new_group())
    with backbone.together():
        for number in range(10**9):
            if processes.rank == 1 and number == 3:
                raise UserError("this one cannot go on.")
            backbone(torch.zeros(1, 3, 64, 64))
"""

# what each of several processes does ------------------------------------------------------------------------------


def make_equal_passes(processes, file, dtype):
    shared, whole = shared_and_whole(processes, file, dtype)
    modes = (torch.inference_mode, torch.no_grad, torch.enable_grad)
    return {
        "equal": [agree(shared, whole, 3 * i + processes.rank, mode) for i, mode in enumerate(modes)],
        "let go": all(parameter.is_meta for parameter in shared.vit.blocks.parameters()),
        "sha256": shared.loaded_sha256 == whole.loaded_sha256,
    }


def keep_a_share(processes, file, taps=TAPS):
    weights, before = BackboneWeights(file), held()
    backbone = empty(taps)
    share_backbone(backbone, weights, CPU, torch.bfloat16, processes.new_group())
    loaded = held() - before
    with torch.inference_mode():
        backbone(torch.zeros(1, 3, 64, 64))
    return loaded, held() - before


def make_unequal_passes(processes, file):
    shared, whole = shared_and_whole(processes, file)
    with shared.together():
        equal = [agree(shared, whole, seed) for seed in range(2 * processes.rank)]
    processes.gather(None)  # nobody is left behind in there
    with shared.together():
        pass
    with shared.together():  # once more, the other way round
        equal += [agree(shared, whole, seed) for seed in range(3 - processes.rank)]
    return [*equal, agree(shared, whole, 5)]


def break_off_a_pass(processes, file):
    """The last process breaks off in a block, and begins anew."""
    shared, whole = shared_and_whole(processes, file)
    last, equal = processes.rank == processes.count - 1, []
    with shared.together():
        for stop_at in (0, 2, 4):
            if last:
                hook = shared.vit.blocks[stop_at].register_forward_pre_hook(_run_out)
                with pytest.raises(MemoryError):
                    agree(shared, whole, 1)
                hook.remove()
            equal.append(agree(shared, whole, processes.rank))
        if last:
            hook = shared.vit.blocks[1].register_forward_pre_hook(_run_out)
            with pytest.raises(MemoryError):
                agree(shared, whole, 1)
            hook.remove()
    return equal


def _run_out(*_):
    raise MemoryError


def stop_early(processes, file):
    shared, whole = shared_and_whole(processes, file, taps=(0, 2))
    return [agree(shared, whole, seed) for seed in range(2)], keep_a_share(processes, file, taps=(0, 2))


def place(processes, file):
    backbone, whole = empty(), empty()
    load_backbone(whole, BackboneWeights(file))
    placement = share_among(backbone, torch.float32, processes.count)
    place_backbone(backbone, BackboneWeights(file), CPU, replace(placement, group=processes.new_group()))
    return agree(backbone, whole, 1)


def do_all(processes, file):
    return {
        "float32": make_equal_passes(processes, file, torch.float32),
        "bfloat16": make_equal_passes(processes, file, torch.bfloat16),
        "bytes": keep_a_share(processes, file),
        "unequal": make_unequal_passes(processes, file),
        "broken off": break_off_a_pass(processes, file),
        "early": stop_early(processes, file),
        "placed": place(processes, file),
    }


# what comes out ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(file):
    return in_processes(3, do_all, file)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shared_blocks_give_the_same_numbers(seen, dtype):
    for one in seen:
        assert one[dtype] == {"equal": [True] * 3, "let go": True, "sha256": True}


def test_each_process_keeps_its_own_blocks_and_what_lies_outside_of_them(seen):
    layout = BlockLayout.of(empty().vit.blocks[0], torch.bfloat16)
    of_block = layout.empty(CPU).numel()
    outside = sum(
        tensor.numel() * (2 if name == "patch_embed.proj.weight" else 4)
        for name, tensor in empty().vit.state_dict().items()
        if not name.startswith("blocks.")
    )
    for rank, one in enumerate(seen):
        loaded, later = one["bytes"]
        own = math.ceil((CONFIG.depth - rank) / 3) + 2  # and two that come and go
        assert own * of_block + outside <= loaded < own * of_block + outside + 2000  # the RoPE periods, keys' biases
        assert later - loaded < of_block / 2  # nothing of the pass is left


def test_processes_with_fewer_passes_serve_the_others(seen):
    assert [one["unequal"] for one in seen] == [[True] * 4, [True] * 5, [True] * 6]


def test_a_pass_that_was_broken_off_does_not_harm_the_others(seen):
    assert [one["broken off"] for one in seen] == [[True] * 3] * 3


def test_no_process_waits_for_ever_for_one_that_has_left(file, tmp_path):
    (tmp_path / "leaving.py").write_text(LEAVING, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PYTHONUTF8": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "USE_LIBUV": "0" if os.name == "nt" else "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    ended = subprocess.run(
        [*torchrun, tmp_path / "leaving.py", file],
        env=environment,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.count("error: this one cannot go on.") == 1


def test_blocks_after_the_last_tap_are_not_kept(seen):
    for one in seen:
        equal, bytes_kept = one["early"]
        assert equal == [True] * 2
        assert bytes_kept[0] <= min(one["bytes"][0] for one in seen)  # of three blocks, as of five, each has one


def test_a_placement_among_processes_is_carried_out(seen):
    assert all(one["placed"] for one in seen)


def test_a_share_is_what_is_kept_and_two_blocks_that_come_and_go():
    with torch.device("meta"):
        backbone = Backbone(ViTConfig(64, 40, 4), (39,))
    whole = size_in(backbone, torch.bfloat16)
    of_block = 2 * sum(parameter.numel() for parameter in backbone.vit.blocks[0].parameters())
    assert share_in(backbone, torch.bfloat16, 8) == whole - (40 - 5 - 2) * of_block
    assert share_in(backbone, torch.bfloat16, 1) == whole


@pytest.mark.parametrize(("room", "processes", "where"), [(1.1, 8, "device"), (0.6, 8, "processes"), (0.6, 1, "disk")])
def test_without_room_for_the_whole_the_backbone_is_shared_before_it_is_streamed(room, processes, where):
    with torch.device("meta"):
        backbone = Backbone(ViTConfig(64, 40, 4), (39,))
    free = RESERVE + int(room * size_in(backbone, torch.float32))
    placement = choose_placement(backbone, CPU, torch.float32, free=lambda device: free, processes=processes)
    assert placement.where == where
    assert ("shared out among 8 processes" in placement.note) == (where == "processes")

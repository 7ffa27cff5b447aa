"""Passes through the network: evenly full, and to the bit the same features whichever slices come together."""

import threading
from contextlib import closing
from functools import partial

import pytest
import torch

from DinoUNetCore.inference.passes import Passes, patches_at_once

WHOLE = (slice(0, 1000), slice(0, 1000))
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


class Noise:
    """Random slices."""

    def __init__(self, count, size):
        self.size = size
        self.images = torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return len(self.images)

    def read(self, start, stop):
        return self.images[start:stop]


@pytest.fixture(scope="module")
def network(random_bundle):
    return random_bundle().build_network().eval()


def features(passes, slices, wanted=None, window=WHOLE):
    found = {}
    with torch.inference_mode():
        list(passes.run(slices, wanted or slice(0, len(slices)), window, lambda f, n: found.update({n: f}), "noise"))
    return found


@pytest.mark.parametrize(
    ("most", "slices", "tiles", "expected"),
    [
        (16, 7, 3, (4, 3)),  # twice four slices, not five and two
        (4, 100, 9, (1, 3)),  # three times three tiles, not four, four and one
        (64, 2, 1, (2, 1)),  # no more than there are
        (1, 50, 9, (1, 1)),
        (10, 1, 10, (1, 10)),
        (10, 1, 11, (1, 6)),
    ],
)
def test_the_passes_are_few_and_evenly_full(most, slices, tiles, expected):
    assert patches_at_once(most, slices, tiles) == expected


@pytest.mark.parametrize(("size", "batch"), [((32, 32), 3), ((32, 32), 4), ((50, 40), 3), ((50, 40), 9)])
def test_features_are_the_same_to_the_bit_wherever_a_run_begins_and_ends(network, size, batch):
    slices = Noise(7, size)  # of one tile, or of four
    make = partial(Passes, network.features, (32, 32), (3,), CPU, batch)
    whole = features(make(), slices)
    assert sorted(whole) == list(range(7))
    window = (slice(33, 40), slice(3, 9)) if size[0] > 32 else (slice(3, 9), slice(30, 31))
    for wanted, of_use in ((slice(0, 1), WHOLE), (slice(4, 6), WHOLE), (slice(2, 5), window)):
        part = features(make(), slices, wanted, of_use)
        assert sorted(part) == list(range(wanted.start, wanted.stop))
        for number, found in part.items():
            place = (slice(None), *(window if of_use is window else (slice(None), slice(None))))
            assert torch.equal(found[place], whole[number][place])


def test_batch_sizes_and_threads_change_logits_by_rounding_only(network):
    slices = Noise(4, (50, 40))

    def logits(batch, threads=1, wanted=None):
        torch.set_num_threads(threads)
        found = features(Passes(network.features, (32, 32), (), CPU, batch), slices, wanted)
        torch.set_num_threads(1)
        with torch.inference_mode():
            return network.head(torch.stack([found[number] for number in sorted(found)]))

    reference = logits(batch=1)
    best, second = reference.topk(2, dim=1).values.unbind(1)
    clear = best - second > 1e-4
    assert clear.float().mean() > 0.99
    others = [logits(batch) for batch in (2, 3, 16)]
    for other, expected, sure in (
        *((other, reference, clear) for other in others),
        (logits(batch=1, threads=2, wanted=slice(0, 1)), reference[:1], clear[:1]),
    ):
        assert (other - expected).abs().max() < 1e-4
        assert torch.equal(other.argmax(dim=1)[sure], expected.argmax(dim=1)[sure])


def test_every_pass_takes_the_same_number_of_patches(network):
    sizes = []
    passes = Passes(lambda tiles: sizes.append(len(tiles)) or network.features(tiles), (32, 32), (), CPU, 6)
    features(passes, Noise(5, (32, 32)), slice(1, 5))
    features(passes, Noise(5, (32, 32)), slice(4, 5))
    assert sizes == [5, 5]
    features(passes, Noise(9, (50, 32)), slice(1, 8))  # three tiles a slice; two slices in each pass
    assert sizes[2:] == [6, 6, 6, 6]
    features(passes, Noise(2, (70, 60)), slice(1, 2))  # twelve tiles a slice
    assert sizes[6:] == [6, 6]


def test_reading_ahead_changes_nothing_and_its_errors_arrive(network):
    slices = Noise(7, (32, 32))
    make = partial(Passes, network.features, (32, 32), (), CPU, 2)
    plain, ahead = (features(make(read_ahead=choice), slices) for choice in (False, True))
    assert all(torch.equal(plain[number], ahead[number]) for number in plain)

    class Damaged(Noise):
        def read(self, start, stop):
            if stop > 4:
                raise OSError("the disk is gone")
            return super().read(start, stop)

    with pytest.raises(OSError, match="the disk is gone"):
        features(make(read_ahead=True), Damaged(7, (32, 32)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("one-ahead")]


def test_giving_up_in_the_middle_leaves_no_thread(network):
    passes = Passes(network.features, (32, 32), (), CPU, 2, read_ahead=True)
    with torch.inference_mode(), closing(
        passes.run(Noise(9, (32, 32)), slice(0, 9), WHOLE, lambda *_: None, "noise")
    ) as run:
        next(run)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("one-ahead")]


@pytest.mark.parametrize("read_ahead", [False, True])
def test_a_batch_that_did_not_fit_is_not_tried_again(network, read_ahead):
    sizes = []

    def limited(tiles):
        sizes.append(len(tiles))
        if len(tiles) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return network.features(tiles)

    slices = Noise(5, (32, 32))
    passes = Passes(limited, (32, 32), (), CPU, 8, read_ahead)
    first = features(passes, slices)
    assert sizes == [5, 2, 2, 2]
    assert all(torch.equal(first[n], other) for n, other in features(passes, slices).items())
    assert sizes[4:] == [2, 2, 2]

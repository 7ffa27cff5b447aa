"""Batches of patches: who takes which, and what happens when a process that prepares them dies."""

import multiprocessing

import numpy as np
import pytest
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import EpochSampler, TrainingSlices
from DinoUNetCore.errors import UserError
from DinoUNetCore.training import loading
from DinoUNetCore.training.loading import PatchLoader, places_in_batch
from DinoUNetCore.training.processes import ALONE, Processes

BATCHES, BATCH_SIZE = 12, 3


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    dataset = read_dataset(write_small_dataset(folder / "balls"))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    cases = [case for planes in prepare_cases(dataset, plan, folder / "prepared").values() for case in planes]
    return TrainingSlices(cases, (32, 32), 1, Augmentation(AugmentationSettings(), (32, 32)), seed=1)


def make_loader(slices, workers, said, places=(0, 1, 2)):
    return PatchLoader(slices, BATCHES, BATCH_SIZE, list(places), workers, pin=False, say=said.append)


def kill_one():
    """End one of the processes that prepare batches, as the system does when memory lacks."""
    for victim in multiprocessing.active_children()[:1]:
        victim.kill()
        victim.join()


def test_a_process_that_dies_is_started_anew_and_the_very_same_batches_follow(slices):
    said = []
    expected = list(make_loader(slices, 0, []).batches(epoch=4))
    batches = []
    for batch in make_loader(slices, 2, said).batches(epoch=4):
        batches.append(batch)
        if len(batches) == 2:
            kill_one()
    assert len(said) == 1 and "started anew" in said[0]
    assert len(batches) == BATCHES
    for batch, other in zip(batches, expected, strict=True):
        assert torch.equal(batch.image, other.image) and torch.equal(batch.label, other.label)


class Broken:
    """A data set that a fault of the program makes fail."""

    augmentation = None

    def __getitem__(self, index):
        raise RuntimeError("The size of tensor a (5) must match")


def test_an_error_within_a_process_is_not_taken_for_its_death():
    said = []
    with pytest.raises(RuntimeError, match="size of tensor a"):
        list(make_loader(Broken(), 1, said).batches())
    assert not said


def test_processes_that_die_again_and_again_end_the_training_with_a_sentence(slices, monkeypatch):
    monkeypatch.setattr(loading, "MOST_RESTARTS", 1)  # each takes its time
    said = []
    with pytest.raises(UserError, match=r"ended unexpectedly.*--resume.*--workers"):
        for _ in make_loader(slices, 1, said).batches():
            kill_one()
    assert len(said) == 1


def test_an_epoch_can_be_begun_in_its_middle(slices):
    loader = make_loader(slices, 0, [])
    whole, rest = list(loader.batches(epoch=2)), list(loader.batches(epoch=2, first=9))
    assert len(rest) == 3
    assert all(torch.equal(a.image, b.image) for a, b in zip(whole[9:], rest, strict=True))


def test_a_process_loads_its_patches_of_the_whole_batch(slices):
    whole = next(make_loader(slices, 0, []).batches())
    part = next(make_loader(slices, 0, [], places=(1, 2)).batches())
    assert torch.equal(part.image, whole.image[1:])


def test_the_sampler_hands_out_places_of_each_batch():
    sampler = EpochSampler(3, 4, [1, 3])
    sampler.epoch, sampler.first = 7, 1
    assert list(sampler) == [(7, 5), (7, 7), (7, 9), (7, 11)] and len(sampler) == 4


@pytest.mark.parametrize(("batch_size", "parts", "count"), [(3, 1, 2), (8, 3, 2), (13, 2, 3), (4, 4, 1)])
def test_the_processes_take_every_patch_once_and_each_part_is_split_evenly(batch_size, parts, count):
    places = [places_in_batch(batch_size, parts, Processes(rank, count)) for rank in range(count)]
    assert sorted(place for own in places for place in own) == list(range(batch_size))
    for number, part in enumerate(np.array_split(np.arange(batch_size), parts)):
        taken = [np.array_split(own, parts)[number] for own in places]  # as a step splits what it gets
        assert np.concatenate(taken).tolist() == part.tolist()


def test_more_processes_or_parts_than_patches_are_refused():
    with pytest.raises(UserError, match=r"a batch has fewer patches \(2\) than there are processes \(3\)"):
        places_in_batch(2, 1, Processes(0, 3))
    with pytest.raises(UserError, match=r"each of the 3 parts of a batch has fewer patches \(1\)"):
        places_in_batch(5, 3, Processes(1, 2))
    with pytest.raises(UserError, match=r"cannot be taken in 3 parts.*--accumulate"):
        places_in_batch(2, 3, ALONE)

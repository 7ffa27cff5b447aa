"""Processes that find each other although earlier ones have left their traces."""

import random
import threading
import time

import pytest
import torch.distributed as dist

from DinoUNetCore.training.meeting import agree_on_name


def names_of(store, count):
    """What each of so many threads gets that come at different moments."""
    names = [None] * count

    def come(rank, delay):
        time.sleep(delay)
        names[rank] = agree_on_name(store, rank, count)

    threads = [threading.Thread(target=come, args=(rank, random.uniform(0, 0.1)), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return names


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_get_the_same_name_and_no_later_ones_get_it_again(count):
    store = dist.HashStore()
    rounds = [names_of(store, count) for _ in range(5)]
    assert all(len(set(names)) == 1 and None not in names for names in rounds)
    assert len({names[0] for names in rounds}) == 5


def test_those_who_died_before_all_had_come_are_no_hindrance():
    store = dist.HashStore()
    store.set("mark/2", "of a process that died before the first one had come")
    names = names_of(store, 3)
    assert len(set(names)) == 1 and None not in names

"""Several processes: sums and their gradients, shares, and what the first decides for all."""

import os
import time

import numpy as np
import pytest
import torch
from joined_processes import in_processes

from DinoUNetCore.errors import UserError
from DinoUNetCore.training.processes import ALONE, AgreedError, Processes, began_in_this_launch, joined


def everything(processes, folder):
    """What each of several processes sees."""
    seen = {"rank": processes.rank, "count": processes.count, "first": processes.first}
    own = torch.tensor([1.0, 2.0], requires_grad=True) if processes.first else torch.tensor([3.0, 4.0]).requires_grad_()
    total = processes.total(own)
    (total.square() * torch.tensor([1.0, 10.0])).sum().backward()
    seen["total"], seen["gradient"] = total.tolist(), own.grad.tolist()
    seen["counts"] = processes.total(torch.tensor([processes.rank, 5])).tolist()
    seen["any"] = [processes.any(False), processes.any(processes.rank == 1)]
    seen["gathered"] = processes.gather({"rank": processes.rank})
    seen["decided"] = processes.first_decides(lambda: f"by {processes.rank}")

    def download():
        found = (folder / "file").exists()
        (folder / "file").touch()
        return found

    seen["found"] = processes.first_goes_ahead(download)
    try:
        processes.first_decides(lambda: _refuse(processes))
    except AgreedError as error:
        seen["refused"] = str(error)
    with joined() as again:
        seen["again"] = again == processes
    return seen


def _refuse(processes):
    raise UserError(f"refused by {processes.rank}")


def refused_by_all(processes):
    processes.first_decides(lambda: _refuse(processes))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return in_processes(2, everything, tmp_path_factory.mktemp("shared"))


def test_each_process_knows_its_place(seen):
    assert [(one["rank"], one["count"], one["first"]) for one in seen] == [(0, 2, True), (1, 2, False)]
    assert all(one["again"] for one in seen)  # joining within what has joined


def test_sums_are_those_of_all_with_the_gradient_of_what_all_make_of_them(seen):
    for one in seen:
        assert one["total"] == [4, 6] and one["counts"] == [1, 10]
        # each of the two squares the same sum: twice 2 * sum * weight
        assert one["gradient"] == [2 * 2 * 4, 2 * 2 * 6 * 10]


def test_what_one_has_or_decides_reaches_all(seen):
    for one in seen:
        assert one["any"] == [False, True]
        assert one["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert one["decided"] == "by 0"
        assert one["refused"] == "refused by 0"
    assert [one["found"] for one in seen] == [False, True]  # the second comes after the first


def test_a_users_mistake_ends_all_with_2_and_is_told_once(capfd):
    ended = in_processes(2, refused_by_all)
    assert capfd.readouterr().err.count("error: refused by 0") == 1
    assert [(type(one), one.code) for one in ended] == [(SystemExit, 2)] * 2


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_lie_one_after_the_other_and_are_as_even_as_can_be(count):
    for items in (range(0), range(2), list(range(7)), "abcdefgh"):
        shares = [Processes(rank, count).share(items) for rank in range(count)]
        assert [list(share) for share in shares] == [list(part) for part in np.array_split(list(items), count)]


def test_one_process_does_the_obvious_without_torch_distributed(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes == ALONE and not torch.distributed.is_initialized()
    tensor = torch.ones(2)
    assert processes.total(tensor) is tensor
    assert processes.gather(3) == [3] and processes.share([1, 2]) == [1, 2]
    assert processes.first_decides(lambda: 5) == 5 and processes.first_goes_ahead(lambda: 6) == 6
    assert processes.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="refused by 0") as refusal:
        processes.first_decides(lambda: _refuse(processes))
    assert not isinstance(refusal.value, AgreedError)


def test_several_processes_without_torchruns_variables_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"RANK is not set.*torchrun"), joined():
        pass


def test_only_a_restart_by_the_same_torchrun_goes_on_with_what_it_began(tmp_path, monkeypatch):
    file = tmp_path / "settings.json"
    file.touch()
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    assert not began_in_this_launch(file)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    later = time.time() + 60
    os.utime(file, (later, later))
    assert began_in_this_launch(file)
    os.utime(file, (0, 0))  # of a run that was there before
    assert not began_in_this_launch(file)
    assert not began_in_this_launch(tmp_path / "missing.json")

"""How processes that start together find each other on a store that may hold what earlier ones have left.

torchrun keeps its store when it starts all processes anew after one has died (seen in torch 2.14), so that they would
read each other's old addresses, at which nobody listens any more.
"""

import json
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

POLL = 0.02  # seconds


def agree_on_name(store: "Store", rank: int, count: int) -> str:
    """A name that all `count` processes get, and that no earlier ones got on this store. Waits until all are there.

    Each puts up a new mark of its own. The first process names the marks that it sees; who finds its own one among them
    nods; when all have nodded to the same name, it holds. What is left of earlier processes never gets that far.
    """
    mark = uuid.uuid4().hex
    if rank > 0:
        store.set(f"mark/{rank}", mark)
        return _follow(store, rank, mark)
    return _lead(store, count)


def _lead(store: "Store", count: int) -> str:
    name, seen = "", None
    while True:
        marks = [_read(store, f"mark/{other}") for other in range(1, count)]
        if marks != seen:  # at the first time always
            name, seen = uuid.uuid4().hex, marks
            store.set("offer", json.dumps([name, *marks]))
        if all(_read(store, f"nod/{other}") == name for other in range(1, count)):
            store.set("holds", name)
            return name
        time.sleep(POLL)


def _follow(store: "Store", rank: int, mark: str) -> str:
    nodded = None
    while True:
        offer = json.loads(_read(store, "offer") or "[]")
        if len(offer) > rank and offer[rank] == mark:
            if offer[0] != nodded:
                nodded = offer[0]
                store.set(f"nod/{rank}", nodded)
            if _read(store, "holds") == nodded:
                return nodded
        time.sleep(POLL)


def _read(store: "Store", key: str) -> str | None:
    return store.get(key).decode() if store.check([key]) else None

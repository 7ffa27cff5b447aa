"""How to segment: the advanced options of the panel, and the keyword arguments of the console's functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from DinoUNetSlicerLib.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps", of the machine with the engine.
    precision: of PRECISIONS. mirror: average over mirror images. fast: look at every second slice only, and interpolate
    between them. keepLargest: True: only the largest piece of each structure; False: all pieces; None: as the model's
    own rule says. batchSize: patches at once; 0 lets the engine choose. threads: of the CPU; 0 leaves one core free.
    planes: which of the model's planes are fused, such as ("axial", "coronal"); none: all, or with fast the first
    one. maxMemory: GB of the GPU that the engine may take at most; 0: all that is free.

    Raises UserError for a maxMemory that is neither.
    """

    device: str = "auto"
    precision: str = "auto"
    mirror: bool = False
    fast: bool = False
    keepLargest: bool | None = None
    batchSize: int = 0
    threads: int = 0
    planes: Sequence[str] = ()
    maxMemory: float = 0.0

    def __post_init__(self):
        most = self.maxMemory
        if not isinstance(most, Real) or isinstance(most, bool) or not 0 <= most < math.inf:
            raise UserError(f"maxMemory is {most!r}; give GB of the GPU's memory, or 0 for all that is free.")

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Options":
        """From keyword arguments; UserError for one that does not exist."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(f"there is no option {name!r}; there are: {', '.join(known)}.")
        return cls(**given)

    @property
    def fields(self) -> dict[str, Any]:
        """As the protocol has them."""
        return {
            "device": self.device,
            "precision": self.precision,
            "mirror": bool(self.mirror),
            "fast": bool(self.fast),
            **({} if self.keepLargest is None else {"keep_largest": bool(self.keepLargest)}),
            "batch_size": int(self.batchSize) or "auto",
            "threads": int(self.threads) or None,
            "planes": list(self.planes) or None,
            "max_memory": float(self.maxMemory) or None,
        }

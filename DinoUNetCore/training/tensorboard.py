"""The numbers of a training as TensorBoard shows them, while it runs: tensorboard --logdir RUN."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError


class EventLog:
    """Writes scalars per epoch into a folder. log.csv holds the same; this is for the eye.

    epochs: how many are done already: what a killed run logged beyond them is not shown.
    """

    def __init__(self, folder: Path, epochs: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                'TensorBoard is not installed; run python -m pip install "dinounet-slicer[tensorboard]", or leave out '
                "--tensorboard."
            ) from None
        try:
            self._writer = SummaryWriter(str(folder), purge_step=epochs + 1 if epochs else None)
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror or error}; check the folder, its permissions and the free "
                "space."
            ) from error

    def add(self, row: Mapping[str, Any], names: Sequence[str]) -> None:
        """One epoch: a row of the trainer's history. names: of the structures, in the order of row["dice"]."""
        values = {"loss": row["loss"], "learning rate": row["learning_rate"], "Dice/mean": row["mean_dice"]}
        values |= {f"Dice/{name}": dice for name, dice in zip(names, row["dice"], strict=True)}
        values |= {"speed/seconds per epoch": row["seconds"], "speed/patches per second": row.get("patches_per_second")}
        values["speed/share of time waiting for data"] = row.get("waiting")
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

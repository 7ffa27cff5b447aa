"""Recipes: optimizer, learning rate and the length of an epoch, under a name."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """learning_rate: the highest one. warmup: epochs over which it rises. clip: largest norm of the gradient."""

    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    weight_decay: float
    warmup: float
    per_iteration: bool  # whether the learning rate falls with every iteration, or once per epoch
    clip: float
    epochs: int
    iterations: int  # per epoch
    rotation: float  # degrees either way; pictures that have no upright position always turn all the way
    repeat: int | None = None  # epochs after which the same augmented samples come again, if the backbone is frozen

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the network's trainable parameters; AdamW does not let norms and biases decay."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, self.learning_rate, momentum=0.99, nesterov=True, weight_decay=self.weight_decay
            )
        decay = [p for p in parameters if p.ndim > 1]
        rest = [p for p in parameters if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": self.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, self.learning_rate)


RECIPES: dict[str, Recipe] = {
    # Chosen for short trainings: reaches its best in minutes to hours instead of a day.
    "default": Recipe("adamw", 1.5e-3, 0.01, 1.0, True, 1.0, epochs=100, iterations=100, rotation=30.0),
    # For a first look: a quarter of the batches, and a frozen backbone sees each sample once (`feature_cache`).
    "fast": Recipe("adamw", 1.5e-3, 0.01, 1.0, True, 1.0, epochs=50, iterations=50, rotation=30.0, repeat=5),
    # The authors' recipe (arXiv 2508.20909 and their code): nnU-Net's SGD with a lower learning rate. Not taken over:
    # mirroring of axes that labels name sides of, and a resampling that changes the slices' aspect (see the plan).
    "paper": Recipe("sgd", 1e-3, 3e-5, 0.0, False, 12.0, epochs=200, iterations=250, rotation=180.0),
}

"""The learning rate over time."""


def poly_factor(epoch: float, epochs: int | None, warmup: float = 0.0, exponent: float = 0.9) -> float:
    """The part of the highest learning rate that is used at `epoch` (0 at the start, `epochs` at the end).

    Rises linearly over `warmup` epochs, while falling as (1 - epoch / epochs) ** exponent (nnU-Net's polynomial decay).
    `epochs` None: the end is not known yet, nothing falls.
    """
    factor = 1.0 if epochs is None else max(0.0, 1.0 - epoch / epochs) ** exponent
    return factor * min(1.0, epoch / warmup) if warmup > 0 else factor

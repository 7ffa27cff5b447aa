"""Write a data set of phantom CTs: python -m DinoUNetCore.phantom FOLDER --count 24 --seed 1."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path

from DinoUNetCore.command_line import Parser, run


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.phantom",
        description="Write drawn CTs of torsos and their label maps as an nnU-Net raw data set, ready to train on.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of the data set")
    parser.add_argument("--count", type=_at_least(1), default=24, metavar="N", help="number of phantoms")
    parser.add_argument("--seed", type=_at_least(0), default=1, metavar="S", help="seed of the first; the next: S + 1")
    parser.add_argument(
        "--random-orientation", action="store_true", help="store the voxels in a random axis order with random flips"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the phantoms of an earlier call")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < least:
            raise ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)

    from tqdm import tqdm

    from DinoUNetCore.dataset.phantom import write_phantom_dataset

    with tqdm(total=options.count, desc="phantoms", leave=False, disable=None) as bar:
        write_phantom_dataset(
            options.folder,
            options.count,
            options.seed,
            overwrite=options.overwrite,
            random_orientation=options.random_orientation,
            progress=lambda done, total: bar.update(done - bar.n),
        )
    last = options.seed + options.count - 1
    print(f"Written: {options.folder} with {options.count} phantoms (seeds {options.seed} to {last}).")


if __name__ == "__main__":
    run(main)

"""Train all folds, measure them together, and make one model of them: python -m DinoUNetCore.crossval DATASET -o RUN.

What lies in RUN afterwards is said in DinoUNetCore/training/cross_validation.py.
"""

import argparse
from collections.abc import Sequence

from DinoUNetCore.command_line import Parser, run
from DinoUNetCore.train import add_training_options, train_all_folds


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.crossval",
        description="Cross-validate: train a network per fold, measure every case by the one that has not seen it, "
        "choose the postprocessing, and make one model: the folds' ensemble. --epochs and --minutes count per fold.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.HelpFormatter,
    )
    add_training_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    train_all_folds(vars(make_parser().parse_args(arguments)))


if __name__ == "__main__":
    run(main)

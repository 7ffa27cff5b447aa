"""The options that decide a plan, shared by the commands that train and that show what would be trained."""

import argparse
import math
from typing import Any

# As in network.VARIANTS and geometry.PLANES, which --help need not load.
VARIANT_NAMES = ("tiny", "small", "small_plus", "base", "large", "huge_plus", "7b")
PLANE_NAMES = ("axial", "coronal", "sagittal")


def add_planning_options(parser: argparse.ArgumentParser) -> None:
    """Options named as fields of `Settings`. With argument_default SUPPRESS, what is not given is absent."""
    parser.add_argument("dataset", help="folder with dataset.json, imagesTr and labelsTr")
    group = parser.add_argument_group("planning")
    add = group.add_argument
    add("--variant", choices=VARIANT_NAMES, help="size of the network (default: small)")
    add("--batch-size", type=positive(int), help="patches per batch (default: planned)")
    spacing_help = "in mm, of pictures in pixels (default: planned)"
    add("--spacing", type=positive(float), nargs=2, metavar=("ROWS", "COLUMNS"), help=spacing_help)
    add("--patch-size", type=positive(int), nargs=2, metavar=("ROWS", "COLUMNS"), help="(default: planned)")
    plane = group.add_mutually_exclusive_group().add_argument
    plane("--plane", choices=("finest", *PLANE_NAMES), help="how volumes are sliced (default: finest)")
    plane("--planes", type=plane_names, metavar="PLANES", help="train on slices of several, such as axial,coronal")
    add("--context-slices", type=int, choices=(1, 3), help="slices the network sees at once (default: planned)")
    add("--plan", metavar="FILE", help="use this plan.json, perhaps edited, instead of making one")
    add("--pretrained", metavar="BUNDLE", help="begin with the weights of this model, and plan as it was planned")
    add("--groups", metavar="FILE", help='JSON {"groups": {case: group}}: cases of one group stay in one fold')
    add("--resample-channels", action="store_true", help="bring a case's channels onto the first one's grid")
    add("--train-backbone", action="store_true", help="train the backbone along (always so for tiny)")
    add("--precision", choices=("auto", "float32", "bfloat16", "float16"), help="(default: auto)")
    add("--device", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--seed", type=whole_number, help="seed of everything random (default: 12345)")


def with_pairs(given: dict[str, Any]) -> dict[str, Any]:
    """The parsed options as `Settings` keeps them: pairs as tuples."""
    return given | {name: tuple(given[name]) for name in ("spacing", "patch_size") if name in given}


def plane_names(text: str) -> tuple[str, ...]:
    """A converter of "axial,coronal" to names of slicing planes, for argparse."""
    names = tuple(text.lower().split(","))
    for name in names:
        if name not in PLANE_NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PLANE_NAMES)}")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text} names a plane twice")
    return names


def positive(kind: type):
    """A converter to int or float that argparse refuses what is not above 0."""

    def convert(text: str):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    convert.__name__ = "number above 0"
    return convert


def whole_number(text: str) -> int:
    """A number that may seed a generator."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {2**32 - 1}")
    return int(text)

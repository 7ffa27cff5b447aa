"""The command line of DinoUNetCore.models."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from DinoUNetCore.command_line import Parser, add_license_option
from DinoUNetCore.weights.models_folder import VARIABLE

PLANES = ("axial", "coronal", "sagittal")

_PROGRAM = "python -m DinoUNetCore.models"
_DESCRIPTION = f"""\
The models and DINOv3 backbones on this computer. 3D Slicer uses the same folder of models; the environment variable
{VARIABLE} names another one. Downloaded backbones lie in the Hugging Face Hub's cache (HF_HOME)."""
_EXAMPLES = f"""\
examples:
  {_PROGRAM} list
  {_PROGRAM} fetch small
  {_PROGRAM} export my-model travel.zip --with-backbone
  {_PROGRAM} import travel.zip
"""


def parse(arguments: Sequence[str] | None) -> Namespace:
    """The options of one subcommand, whose name is `command`."""
    parser = Parser(
        prog=_PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, text: str, more: str = "") -> ArgumentParser:
        description = f"{text[0].upper()}{text[1:]}.{more and ' '}{more}"
        return commands.add_parser(
            name, help=text, description=description, formatter_class=RawDescriptionHelpFormatter
        )

    one = add("list", "show models and backbones, their sizes and places")
    one.add_argument("--json", action="store_true", help="for programs; sizes in bytes")

    one = add("fetch", "download backbones, or models with their backbones")
    one.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a variant (small, base, ...) or a timm name: its backbone, into the hub's cache; "
        "hf:OWNER/NAME: a model, into the library, and the backbone that it names",
    )
    _add_overwrite(one, "replace a model of the same name")
    add_license_option(one)

    one = add("import", "take a model into the library, or backbone weights", "The content tells which of them it is.")
    one.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a bundle's folder or zip, or DINOv3 weights: a file or folder of timm's, Meta's or transformers'",
    )
    one.add_argument(
        "--name",
        metavar="TIMM_NAME",
        help="of backbone weights, which files do not tell: a variant (small, base, ...) for those that it is usually "
        "trained with, or timm's name; without it they serve the models that were trained with them, not new trainings",
    )
    _add_overwrite(one, "replace a model of the same name")

    one = add("export", "write a model as one zip", "With its backbone it needs no internet where it is imported.")
    one.add_argument("name", metavar="NAME", help="a model of the list, or a bundle's folder or zip")
    one.add_argument("output", type=Path, metavar="OUT.zip")
    one.add_argument("--with-backbone", action="store_true", help="put the backbone that the model names into the zip")
    one.add_argument("--backbone", type=Path, metavar="FILE", help="this one (a file or folder) instead of the hub's")
    one.add_argument("--license", type=Path, metavar="FILE", help="DINOv3's licence, if none lies beside the weights")
    _add_overwrite(one, "replace the zip")
    add_license_option(one)

    one = add("remove", "delete a model, or a backbone of the library and of the hub's cache")
    one.add_argument("name", metavar="NAME", help="of a model; a backbone's variant, timm name or SHA-256")

    one = add("verify", "read all files again and compare their SHA-256", "Exits with 2 if something is damaged.")
    one.add_argument("names", nargs="*", metavar="NAME", help="as for remove (default: all that is complete)")

    one = add("import-official", "make a model of a checkpoint of the authors' code")
    one.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint_final.pth or checkpoint_best.pth")
    one.add_argument("--plans", type=Path, required=True, metavar="FILE", help="nnU-Net's plans.json of its training")
    one.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="the dataset.json of its training")
    one.add_argument("--name", metavar="NAME", help="of the model (default: from data set and variant)")
    one.add_argument(
        "--stored",
        choices=PLANES,
        default="axial",
        help="the plane of the slices in the files of its training, which plans do not say (default: axial)",
    )
    one.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER_OR_ZIP", help="write it there (default: into the library)"
    )
    _add_overwrite(one, "replace a model of the same name, or the output")

    one = add("push", "upload a model to the Hugging Face Hub", "A backbone that it only names is left out.")
    one.add_argument("name", metavar="NAME", help="a model of the list, or a bundle's folder or zip")
    one.add_argument("repository", metavar="hf:OWNER/NAME", help="made if it does not exist")
    one.add_argument("--private", action="store_true", help="make the repository private")

    one = add("license", "show the licence of DINOv3 weights and whether it is accepted")
    one.add_argument("--accept", action="store_true", help="accept it, once for all commands and for 3D Slicer")
    return parser.parse_args(arguments)


def _add_overwrite(parser: ArgumentParser, text: str) -> None:
    parser.add_argument("--overwrite", action="store_true", help=text)

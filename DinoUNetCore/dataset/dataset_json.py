"""dataset.json: what the channels and labels of a raw folder are called, and how its files end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.problems import Problems
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.label_table import read_label_scheme


@dataclass(frozen=True)
class Description:
    """A checked dataset.json; `table` is the whole of it."""

    file: Path
    table: dict[str, Any]
    channel_names: list[str]
    scheme: LabelScheme
    file_ending: str

    @classmethod
    def read(cls, file: Path) -> "Description":
        """UserErrors: a missing or broken file; all entries that are wrong, together."""
        if not file.is_file():
            raise UserError(f"{file} is missing; name an nnU-Net v2 raw folder (dataset.json, imagesTr, labelsTr).")
        table = read_json(file)
        if not isinstance(table, dict):
            raise UserError(f"{file} must hold a JSON object with channel_names, labels and file_ending.")
        problems, entries = Problems(), []
        for read in (_read_channel_names, _read_labels, _read_file_ending):
            with problems.collecting():
                entries.append(read(table, file))
        problems.refuse()
        return cls(file, table, *entries)

    @property
    def name(self) -> str:
        """The data set's name; the folder's where there is none."""
        name = self.table.get("name")
        return name if isinstance(name, str) and name.strip() else self.file.parent.resolve().name

    def check_number_of_cases(self, found: int) -> None:
        expected = self.table.get("numTraining", found)
        if expected != found:
            raise UserError(
                f"{self.file} says numTraining {expected!r}, but imagesTr holds {found} case(s); add the missing files "
                "or correct the number."
            )

    def groups(self, cases: set[str], groups_file: str | Path | None) -> dict[str, str]:
        """The group of every case, from `groups_file` if given; one without a group is a group of its own."""
        source, groups = self.file, self.table.get("groups", {})
        if groups_file is not None:
            source, groups = Path(groups_file), read_json(groups_file)
            if isinstance(groups, dict) and isinstance(groups.get("groups"), dict):
                groups = groups["groups"]
        if not isinstance(groups, dict) or not all(
            isinstance(group, (str, int)) and not isinstance(group, bool) for group in groups.values()
        ):
            raise UserError(
                f'the groups in {source} must have the form {{"case": "group"}}, with a text for each group.'
            )
        problems = Problems()
        for case in groups:
            if case not in cases:
                problems.add(
                    f"the groups in {source} name the case {case!r}, which has no image; remove or correct it."
                )
        problems.refuse()
        named = {str(group) for group in groups.values()}
        alone = {case: case if case not in named else f"{case} (alone)" for case in cases}
        return {case: str(groups.get(case, alone[case])) for case in cases}


def _entry(table: dict, key: str, kind: type, file: Path) -> Any:
    if key not in table:
        if "modality" in table:
            raise UserError(
                f"{file} is in the old format of nnU-Net v1 or the Decathlon (it has 'modality' and no {key!r}); "
                "convert the folder, for example with nnUNetv2_convert_MSD_dataset."
            )
        raise UserError(f"{file} has no {key!r}; add it as the nnU-Net v2 format asks.")
    if not isinstance(table[key], kind) or not table[key]:
        wanted = "a table that is not empty" if kind is dict else "a text that is not empty"
        raise UserError(f"{key!r} in {file} must be {wanted}.")
    return table[key]


def _read_channel_names(table: dict, file: Path) -> list[str]:
    names = _entry(table, "channel_names", dict, file)
    wanted = [str(number) for number in range(len(names))]
    if sorted(names) != sorted(wanted):
        raise UserError(f"'channel_names' in {file} must number the channels {', '.join(wanted)}, not {list(names)}.")
    if not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise UserError(f"every name among 'channel_names' in {file} must be a text that is not empty.")
    return [names[number] for number in wanted]


def _read_labels(table: dict, file: Path) -> LabelScheme:
    _entry(table, "labels", dict, file)
    return read_label_scheme(table, file)


def _read_file_ending(table: dict, file: Path) -> str:
    ending = _entry(table, "file_ending", str, file)
    if not ending.startswith(".") or len(ending) < 2:
        raise UserError(f"'file_ending' in {file} is {ending!r}; it must begin with a dot, such as '.nii.gz'.")
    return ending

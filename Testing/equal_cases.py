"""Data sets of equal cases, and their fingerprints and plans, as they would come from files."""

from pathlib import Path

from DinoUNetCore.dataset.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint
from DinoUNetCore.dataset.layout import Case, Dataset
from DinoUNetCore.dataset.plan import Plan, make_plan

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ORGANS = {"background": 0, "liver": 1, "spleen": 2}


def make_cases(count, group=lambda number: str(number)) -> list[Case]:
    return [
        Case(f"case_{number:02d}", (Path(f"{number}_0000"),), Path(str(number)), group(number))
        for number in range(count)
    ]


def make_set(
    size=(200, 150, 40), spacing=(1.0, 1.0, 1.0), direction=LPS, dimension=3, labels=ORGANS, channels=("MR",), cases=10,
    ending=".nrrd",
) -> tuple[Dataset, Fingerprint]:
    listed = make_cases(cases)
    dataset = Dataset(Path("Dataset"), "Dataset", list(channels), labels, ending, listed)
    one = CaseFingerprint(dimension, size, spacing, (0.0, 0.0, 0.0), direction, [], dict.fromkeys(labels, 9))
    channel = ChannelFingerprint(-150.0, 250.0, 40.0, 60.0, -1000.0, 400.0)
    measured = {case.name: one for case in listed}
    return dataset, Fingerprint("Dataset", [channel] * len(channels), dict.fromkeys(labels, 9), measured)


def plan_for(variant="tiny", options=None, **set_options) -> Plan:
    return make_plan(*make_set(**set_options), variant, **(options or {}))

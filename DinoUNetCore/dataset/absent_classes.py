"""Classes that a fold cannot learn or cannot measure, because none of its cases holds them."""

from collections.abc import Mapping, Sequence

from DinoUNetCore.dataset.fingerprint import CaseFingerprint

MOST_NAMED = 8  # of many labels, in one sentence


def absent_classes(
    folds: Sequence[Sequence[str]], labels: Mapping[str, int], cases: Mapping[str, CaseFingerprint]
) -> list[str]:
    """Sentences about the labels that no training case, or no validation case, of some folds holds.

    folds: per fold the names of its validation cases; all others train, or the same where there is one fold only.
    Labels that no case at all holds are told in a sentence of their own.
    """
    structures = [name for name, value in labels.items() if value != 0]
    holding = [{name for name in structures if any(cases[case].label_voxels[name] for case in fold)} for fold in folds]
    known = set().union(*holding)
    sentences = []
    nowhere = [name for name in structures if name not in known]
    if nowhere:
        sentences.append(f"{_labels(nowhere)} in no case, so the model will not learn {_it(nowhere)}.")
    trained = [set().union(*(holding[:fold] + holding[fold + 1 :])) for fold in range(len(folds))]
    if len(folds) == 1:
        trained = holding
    for kind, held, consequence in (
        ("training", trained, "so the model of {there} will not learn {it}"),
        ("validation", holding, "so there is no accuracy of {it} for {there}"),
    ):
        for absent, names in _by_folds(structures, known, held).items():
            there = "that fold" if len(absent) == 1 else "those folds"
            sentences.append(
                f"{_labels(names)} in no {kind} case of {_folds(absent)}, "
                f"{consequence.format(there=there, it=_it(names))}."
            )
    return sentences


def _by_folds(names: Sequence[str], known: set[str], held: Sequence[set[str]]) -> dict[tuple[int, ...], list[str]]:
    """{folds that do not hold them: names}; what is everywhere, or nowhere at all, is left out."""
    table: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        absent = tuple(fold for fold, there in enumerate(held) if name not in there)
        if name in known and absent:
            table.setdefault(absent, []).append(name)
    return table


def _labels(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the label {names[0]!r} is"
    left = len(names) - MOST_NAMED
    shown = ", ".join(map(repr, names[:MOST_NAMED])) + (f" and {left} more" if left > 0 else "")
    return f"the labels {shown} are"


def _folds(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"fold {numbers[0]}"
    return f"the folds {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"

"""The licence of DINOv3 weights: it is known by its name and its text, and what needs it is known."""

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.license_files import (
    check_license_file,
    free_license_name,
    is_license,
    licenses_in,
    stores_dinov3,
)


def test_a_licence_is_told_by_its_whole_name():
    for name in ("LICENSE", "LICENSE.md", "license.txt", "Licence", "LICENCE.MD"):
        assert is_license(name), name
    for name in ("license_key.txt", "licenses", "LICENSE.py", "LICENSE.md.bak", "my LICENSE", "LICENSE-other.md"):
        assert not is_license(name), name


def test_of_all_files_in_a_folder_only_the_licence_of_dinov3_weights_counts(tmp_path):
    (tmp_path / "LICENCE.txt").mkdir()
    for name, text in {
        "LICENSE.md": "# DINOv3 License",
        "LICENSE": "Apache License",
        "license_key.txt": "DINOv3: 1234",
        "README.md": "DINOv3 License",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [path.name for path in licenses_in(tmp_path)] == ["LICENSE.md"]


def test_a_file_that_is_named_as_the_licence_has_to_be_it(tmp_path):
    (tmp_path / "terms.txt").write_text("the DINOv3 License", encoding="utf-8")
    (tmp_path / "other.pdf").write_bytes(b"%PDF")
    check_license_file(tmp_path / "terms.txt")
    with pytest.raises(UserError, match="does not exist"):
        check_license_file(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"other\.pdf does not hold the licence of DINOv3 weights"):
        check_license_file(tmp_path / "other.pdf")


def test_a_copy_of_the_licence_takes_a_free_name(tmp_path):
    assert free_license_name(tmp_path / "licence.MD", []) == "licence.MD"
    assert free_license_name(tmp_path / "terms.txt", []) == "LICENSE.txt"
    assert free_license_name(tmp_path / "terms.rst", ["license.MD"]) == "LICENSE.txt"


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ({"stored": True, "source": "official"}, True),
        ({"stored": True}, True),
        ({"stored": True, "source": "random"}, False),
        ({"stored": False, "source": "timm"}, False),
    ],
)
def test_only_stored_weights_that_began_as_public_ones_need_it(backbone, expected):
    assert stores_dinov3({"backbone": backbone}) is expected

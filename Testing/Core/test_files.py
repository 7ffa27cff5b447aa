import errno
import os
import sys
import threading

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, give_usual_permissions, read_json, write_json, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("half of the new")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_told_with_the_files_name_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(UserError, match=r"a\.txt: No space left.*free space"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_temporary_name_lies_in_the_same_folder_and_keeps_all_endings(tmp_path):
    with atomic_path(tmp_path / "scan.seg.nrrd") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".seg.nrrd")
        assert temporary.name.startswith(".partial-")  # what .gitignore and readers of folders leave out


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "text")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_files_that_others_make_meanwhile_keep_their_permissions(tmp_path):
    written, ended = tmp_path / "a.txt", threading.Event()
    write_text(written, "text")

    def keep_asking():
        while not ended.is_set():
            give_usual_permissions(written)

    old = os.umask(0o027)
    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        modes = set()
        for number in range(3000):
            other = tmp_path / f"{number}.txt"
            os.close(os.open(other, os.O_CREAT | os.O_WRONLY, 0o666))
            modes.add(other.stat().st_mode & 0o777)
            other.unlink()
    finally:
        ended.set()
        asking.join()
        os.umask(old)
    assert modes == {0o640} == {written.stat().st_mode & 0o777}
    assert names(tmp_path) == ["a.txt"]


def test_text_is_utf8_with_the_same_line_ends_everywhere(tmp_path):
    write_text(tmp_path / "a.txt", "größer\nmm³\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\nmm³\n".encode()


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"name": "Leber, größer", "spacing": [0.1, 1e-7], "none": None, "deep": {"list": [1, 2]}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "größer" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_never_holds_nan(tmp_path):
    write_json(tmp_path / "a.json", {"dice": 0.5})
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert read_json(tmp_path / "a.json") == {"dice": 0.5}


def test_json_from_a_windows_editor_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a":\r\n1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "not valid JSON"),
        (b'{\n"a": }', "line 2"),
        (b'{"a": "\xff\xfe"}', "cannot read"),
    ],
)
def test_json_that_cannot_be_read_is_told_with_its_name(tmp_path, content, words):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_json_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path)

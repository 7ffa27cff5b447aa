"""What is remembered of measurements."""

import torch

from DinoUNetCore.measurements import key_of, memory_file, recalled, remember

KEY = key_of(torch.device("cpu"), "tiny", (64, 64), 4)


def test_what_is_remembered_is_recalled(tmp_path):
    file = tmp_path / "new" / "measurements.json"
    assert recalled(file, KEY) is None
    remember(file, KEY, True)
    remember(file, KEY + "2", False)
    assert recalled(file, KEY) is True and recalled(file, KEY + "2") is False
    assert recalled(file, "other") is None


def test_a_file_that_cannot_be_read_is_as_good_as_none_and_is_written_anew(tmp_path):
    file = tmp_path / "measurements.json"
    for content in (b"{", b"[1]", b"\xff", b'{"key": "yes"}'):
        file.write_bytes(content)
        assert recalled(file, "key") is None
    file.write_bytes(b"{")
    remember(file, "key", True)
    assert recalled(file, "key") is True


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    remember(tmp_path / "file" / "measurements.json", KEY, True)
    assert recalled(None, KEY) is None
    remember(None, KEY, True)


def test_the_key_names_device_and_torch():
    assert KEY.startswith("cpu") and torch.__version__ in KEY and "(64, 64)" in KEY


def test_the_file_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert memory_file() == tmp_path / "DinoUNet" / "measurements.json"

"""Zips that are made while they are sent: real readers read them, and their size was right before."""

import io
import zipfile

import pytest

from DinoUNetCore.engine.protocol import MAX_DATA
from DinoUNetSlicerLib.zip_stream import StoredFile, zip_pieces, zip_size


def stored(name, data, size=None):
    return StoredFile(name, len(data) if size is None else size, lambda: io.BytesIO(data))


def test_a_zip_has_its_files_and_the_size_that_was_announced():
    contents = {"config.json": b"{}", "empty": b"", "Größe 肝.bin": bytes(range(256)) * 10_000}
    files = [stored(name, data) for name, data in contents.items()]
    pieces = list(zip_pieces(files))
    assert max(map(len, pieces)) <= MAX_DATA
    data = b"".join(pieces)
    assert len(data) == zip_size(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents


def test_a_zip_may_have_more_than_four_gigabytes():
    """What is behind so large a file is found by fields that are wide enough; the file itself is not made here."""
    files = [stored("weights", b"", size=5_000_000_000), stored("after", b"hello")]
    assert zip_size(files) == 5_000_000_000 + zip_size([stored("weights", b""), stored("after", b"hello")])


@pytest.mark.parametrize("size", [3, 7])
def test_a_file_of_another_size_is_noticed(size):
    with pytest.raises(OSError, match="weights was changed"):
        list(zip_pieces([stored("weights", b"12345", size)]))


def test_nothing_is_read_before_it_is_asked_for():
    opened = []

    def open_it():
        opened.append(True)
        return io.BytesIO(bytes(5 * MAX_DATA))

    pieces = zip_pieces([StoredFile("weights", 5 * MAX_DATA, open_it)])
    next(pieces)  # the header
    assert not opened

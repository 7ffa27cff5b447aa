"""Every file of the awkward collection is segmented on its own grid, also after writing, or refused with a reason."""

from pathlib import Path

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.reading import read_image, read_volume
from DinoUNetCore.volume.volume import Grid
from DinoUNetCore.volume.writing import write_label_map


@pytest.fixture(scope="module")
def files(shared) -> list[Path]:
    folder = shared / "data" / "awkward"
    if not folder.is_dir():
        pytest.skip("needs shared/data/awkward")
    return sorted(path for kind in ("dicom", "nifti", "other") for path in (folder / kind).iterdir())


def test_each_is_segmented_on_its_own_grid_or_refused_with_a_reason(files, random_bundle, tmp_path):
    coarse = {"plane": "finest", "spacing": [6.0, 6.0], "context_slices": 1}
    segmenters = {
        1: Segmenter(random_bundle(**coarse), "cpu"),
        3: Segmenter(random_bundle(channels=("R", "G", "B"), normalization=[{"scheme": "rgb"}] * 3, **coarse), "cpu"),
    }
    segmented = 0
    for path in files:
        try:
            volume = read_volume([path])
        except UserError as error:
            assert path.name in str(error)
            continue
        segmenter = segmenters[len(volume.channels)]
        labels = segmenter.segment(volume)
        assert Grid.of(labels) == volume.grid, path
        output = tmp_path / "labels.nii.gz"
        write_label_map(labels, output, segmenter.bundle.labels, overwrite=True)
        written = Grid.of(read_image(output))
        assert not Grid.of(labels).difference(written, tolerance=1e-3), path
        segmented += 1
    assert segmented > 20

"""Bundles whose outputs are regions: saved, loaded, and refused where the table of regions is damaged."""

import json

import pytest
import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.bundle_reading import load_bundle

REGIONS = {"whole": [1, 2, 5], "edge": [5], "core": [2, 5]}


@pytest.fixture
def bundle(random_bundle):
    return random_bundle(labels={"whole": 1, "edge": 5, "core": 2}, regions=REGIONS)


def test_regions_and_their_order_come_back(bundle, tmp_path):
    bundle.save(tmp_path / "bundle")
    again = load_bundle(tmp_path / "bundle")
    assert again.regions == [[1, 2, 5], [5], [2, 5]] and again.label_values == [0, 1, 5, 2]
    assert again.num_classes == again.build_network().num_classes == 3
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again.build_network()(x), bundle.build_network()(x))


def test_a_bundle_of_classes_has_no_regions(random_bundle):
    bundle = random_bundle()
    assert bundle.regions is None and "regions" not in bundle.config


@pytest.mark.parametrize(
    "regions", [[[1, 2], [5]], [[1], [5], [5]], [[1], [5], ["2"]], [[0, 1], [5], [2]], [[1], [5], 2], "x"]
)
def test_a_damaged_table_of_regions_is_refused(bundle, tmp_path, regions):
    bundle.save(tmp_path / "bundle")
    file = tmp_path / "bundle" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"regions": regions}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=r"bundle is damaged: its config\.json lacks or misstates"):
        load_bundle(tmp_path / "bundle")

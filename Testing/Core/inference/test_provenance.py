"""What is written down about a result: the model, and whatever decides over the labels."""

import pytest

from DinoUNetCore.inference.provenance import provenance
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.weights.bundle_files import digest
from DinoUNetCore.weights.bundle_reading import load_bundle


@pytest.fixture(scope="module")
def bundle(random_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "two planes.zip"
    random_bundle(planes=["axial", "coronal"], mirror=["rows"]).save(folder)
    return load_bundle(folder)


def test_a_usual_result_names_model_device_and_precision(random_bundle, tmp_path):
    random_bundle().save(tmp_path / "bundle")
    facts = provenance(Segmenter(load_bundle(tmp_path / "bundle"), "cpu"))
    sha256 = digest((tmp_path / "bundle" / "config.json").read_bytes())
    assert facts == {"Model": "random", "ModelSHA256": sha256[:12], "Device": "cpu", "Precision": "float32"}


def test_a_network_that_was_never_a_file_has_no_hash(random_bundle):
    assert "ModelSHA256" not in provenance(Segmenter(random_bundle(), "cpu"))


@pytest.mark.parametrize(
    ("chosen", "noted"),
    [
        ({"batch_size": 3, "keep_largest": False, "planes": ["axial", "coronal"]}, None),  # changes nothing
        ({"mirror": True}, "mirror"),
        ({"planes": ["coronal"]}, "planes=coronal"),
        ({"keep_largest": True}, "keep-largest"),
        ({"fast": True}, "fast planes=axial"),
        ({"fast": True, "planes": ["coronal", "axial"], "mirror": True}, "fast mirror"),
    ],
)
def test_only_options_that_change_the_labels_are_noted(bundle, chosen, noted):
    assert provenance(Segmenter(bundle, "cpu", **chosen)).get("Options") == noted


def test_leaving_out_the_models_own_rule_is_noted(random_bundle):
    bundle = random_bundle()
    bundle.keep_largest = [1]
    assert provenance(Segmenter(bundle, "cpu", keep_largest=False))["Options"] == "no-keep-largest"
    assert "Options" not in provenance(Segmenter(bundle, "cpu"))


def test_channels_brought_onto_another_grid_are_noted(bundle):
    assert provenance(Segmenter(bundle, "cpu"), resampled=True)["Options"] == "resample-channels"
    assert provenance(Segmenter(bundle, "cpu", mirror=True), True)["Options"] == "mirror resample-channels"


def test_a_short_precision_is_noted(bundle):
    assert provenance(Segmenter(bundle, "cpu", precision="bfloat16"))["Precision"] == "bfloat16"

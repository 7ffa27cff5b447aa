"""The model card of a bundle."""

from dataclasses import replace

import yaml
from random_bundle import make_bundle

from DinoUNetCore import load_bundle
from DinoUNetCore.weights.card import model_card


def test_the_card_states_structures_training_numbers_and_use():
    card = model_card(load_bundle("phantom-tiny").config, "curves.png")
    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "image-segmentation"
    for words in (
        "# phantom-tiny",
        "not a medical device",
        "| 4 | liver | SCT 10200004 (Liver) |",
        "- training cases: 19",
        "| mean | 0.907 |",
        "![Loss and Dice over the epochs](curves.png)",
        "python -m DinoUNetCore.segment -m MODEL -i SCAN",
        "In 3D Slicer",
    ):
        assert words in card


def test_what_was_not_measured_is_not_claimed():
    card = model_card(make_bundle(channels=("T1", "T2")).config)
    assert "Not measured." in card and "Dice |" not in card
    assert "CHANNEL1 CHANNEL2" in card
    assert "Licence" not in card  # the backbone is random


def test_a_public_backbone_brings_its_licence_into_the_card():
    config = make_bundle().config
    for stored, words in ((True, "are part of this model"), (False, "are not part of this model")):
        record = {"name": "vit", "source": "timm", "trained": False, "stored": stored}
        card = model_card({**config, "backbone": record})
        assert words in card and "https://ai.meta.com" in card


def test_the_curves_travel_with_the_bundle(tmp_path):
    picture = b"\x89PNG" + bytes(700_000)
    bundle = replace(make_bundle(), curves=picture)
    for name in ("folder", "model.zip"):
        bundle.save(tmp_path / name)
        assert load_bundle(tmp_path / name).curves == picture

"""Requests: what makes sense becomes one, what does not is refused with a code and a sentence, whatever it is."""

import pytest

from DinoUNetCore.engine.refusals import Refusal
from DinoUNetCore.engine.requests import (
    AddModel,
    Cancel,
    Hello,
    ListModels,
    Options,
    PutModel,
    RemoveModel,
    Segment,
    parse_request,
)

IMAGE = {
    "name": "CT",
    "dtype": "<i2",
    "components": 1,
    "size": [4, 5, 6],
    "spacing": [0.5, 1, 2.5],
    "origin": [-1.5, 0, 3],
    "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "transform": None,
}
SECOND = IMAGE | {"dtype": ">f8", "components": 3, "transform": [1, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}
SEGMENT = {
    "request": "segment",
    "model": {"sha256": "0123456789abcdef" * 4},
    "channels": [IMAGE, SECOND],
    "dimension": 3,
    "region": [[0, 4], [1, 3], [5, 6]],
    "options": {
        "device": "cpu",
        "precision": "float32",
        "mirror": True,
        "fast": True,
        "keep_largest": True,
        "batch_size": 3,
        "threads": 2,
        "planes": ["coronal", "axial"],
        "max_memory": 6,
    },
}
MODELS = {"request": "models", "action": "add", "source": "model.zip", "overwrite": True}


def test_a_segment_request_is_understood_in_full():
    request = parse_request(7, SEGMENT)
    assert isinstance(request, Segment)
    assert (request.id, request.sha256, request.name, request.dimension) == (7, "0123456789abcdef" * 4, None, 3)
    assert request.region == ((0, 4), (1, 3), (5, 6))
    assert request.parts == [4 * 5 * 6 * 2, 4 * 5 * 6 * 3 * 8]
    assert request.options == Options("cpu", "float32", True, True, True, 3, 2, ("coronal", "axial"), 6.0)
    assert request.images[0].transform is None
    assert request.images[1].transform[3] == 5.0


def test_what_may_be_absent_has_its_default():
    request = parse_request(7, {"request": "segment", "model": {"name": "a"}, "channels": [IMAGE], "dimension": 3})
    assert (request.sha256, request.name, request.region, request.options) == (None, "a", None, Options())
    unnamed = parse_request(7, SEGMENT | {"channels": [{k: v for k, v in IMAGE.items() if k != "name"}], "later": 1})
    assert unnamed.images[0].name == "image 1"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"request": "hello"}, Hello),
        ({"request": "cancel", "target": 3}, Cancel),
        ({"request": "models", "action": "list"}, ListModels),
        (MODELS, AddModel),
        ({"request": "models", "action": "fetch", "source": "hf:some-one/a.model"}, AddModel),
        ({"request": "models", "action": "remove", "name": "Lungs \u80ba"}, RemoveModel),
        ({"request": "models", "action": "put", "sha256": "ab" * 32, "total_bytes": 5}, PutModel),
    ],
)
def test_the_other_requests_are_understood(fields, kind):
    assert type(parse_request(1, fields)) is kind


@pytest.mark.parametrize("name", ["|i1", "<u1", "<i2", ">u2", "<i4", ">u4", "<i8", ">u8", "<f4", ">f8"])
def test_all_types_of_voxels_are_known(name):
    parse_request(1, SEGMENT | {"channels": [IMAGE | {"dtype": name}]})


def image(**changes):
    return {"channels": [IMAGE | changes]}


@pytest.mark.parametrize(
    "changes",
    [
        {"request": "dance"},
        {"request": None},
        {"request": ["segment"]},
        {"model": "phantom-tiny"},
        {"model": {}},
        {"model": {"sha256": "AB" * 32}},
        {"model": {"sha256": 5}},
        {"model": {"name": ""}},
        {"model": {"name": "a\0"}},
        {"channels": []},
        {"channels": {}},
        {"channels": [IMAGE] * 65},
        {"channels": [None]},
        {"channels": [SECOND]},  # the first image has no transform
        image(dtype="i2"),
        image(dtype="|i2"),
        image(dtype="=i2"),
        image(dtype="<f2"),
        image(dtype="<i3"),
        image(dtype="O"),
        image(dtype=2),
        image(components=0),
        image(components=True),
        image(components=1.0),
        image(size=[4, 5]),
        image(size=[4, 5, -6]),
        image(size=[4, 5, 6.0]),
        image(size=[4, 5, True]),
        image(size=[4, 5, 2_000_000]),
        image(size="456"),
        image(spacing=[1, 1]),
        image(spacing=[1, 1, "1"]),
        image(spacing=[1, 1, None]),
        image(spacing=[1, 1, 1e300]),
        image(origin=[0, 0, -2e9]),
        image(direction=[1, 0, 0, 0, 1, 0, 0, 0]),
        image(name=5),
        image(name="x" * 5000),
        {"channels": [IMAGE, SECOND | {"transform": [1] * 15}]},
        {"channels": [IMAGE, SECOND | {"transform": [1] * 16}]},  # not affine
        {"dimension": 4},
        {"dimension": True},
        {"dimension": 2},  # of six slices
        {"region": [[0, 4], [1, 3]]},
        {"region": [[0, 4], [1, 3], [5, 7]]},
        {"region": [[0, 4], [1, 1], [5, 6]]},
        {"region": [[-1, 4], [1, 3], [5, 6]]},
        {"region": [[0, 4], [1, 3], [5, 6.0]]},
        {"region": 5},
        {"options": []},
        {"options": {"mirror": 1}},
        {"options": {"fast": "yes"}},
        {"options": {"batch_size": 0}},
        {"options": {"batch_size": True}},
        {"options": {"batch_size": "many"}},
        {"options": {"threads": 0}},
        {"options": {"threads": "2"}},
        {"options": {"max_memory": 0}},
        {"options": {"max_memory": -2.5}},
        {"options": {"max_memory": 1e9}},
        {"options": {"max_memory": True}},
        {"options": {"max_memory": "6 GB"}},
        {"options": {"device": None}},
        {"options": {"keep_largest": "all"}},
        {"options": {"planes": "axial"}},
        {"options": {"planes": []}},
        {"options": {"planes": ["finest"]}},
        {"options": {"planes": [["axial"]]}},
        {"options": {"planes": ["axial"] * 4}},
    ],
    ids=repr,
)
def test_segment_requests_that_make_no_sense_are_refused(changes):
    with pytest.raises(Refusal) as caught:
        parse_request(1, SEGMENT | changes)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "steal"},
        {"action": None},
        {"source": ""},
        {"source": None},
        {"source": "x" * 5000},
        {"overwrite": 1},
        {"action": "remove"},
        {"action": "put"},
        {"action": "put", "sha256": "ab" * 32, "total_bytes": 0},
        {"action": "put", "sha256": "ab" * 32, "total_bytes": 17 << 30},
    ],
    ids=repr,
)
def test_requests_for_models_that_make_no_sense_are_refused(changes):
    with pytest.raises(Refusal) as caught:
        parse_request(1, MODELS | changes)
    assert caught.value.code == "bad_request"


def test_volumes_beyond_16_gib_are_refused_so_that_a_user_understands():
    with pytest.raises(Refusal, match=r"CT has more than 16 GiB.*crop") as caught:
        parse_request(1, SEGMENT | {"channels": [IMAGE | {"size": [3000, 3000, 1000]}], "region": None})
    assert caught.value.code == "bad_input"


@pytest.mark.parametrize("fields", [MODELS | {"source": "hf:a/b"}, MODELS | {"action": "fetch", "source": "https://x"}])
def test_the_hub_is_asked_by_fetch_and_nothing_else_is(fields):
    with pytest.raises(Refusal) as caught:
        parse_request(1, fields)
    assert caught.value.code == "bad_input"

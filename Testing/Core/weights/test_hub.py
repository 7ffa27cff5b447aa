"""The hub, over real HTTP: what is fetched is whole and goes on after cuts, and each fault is one sentence."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hub_process import HubProcess
from hub_stub import READER, WRITER, Faults, HubStub

from DinoUNetCore.resources import resources_folder
from DinoUNetCore.weights import license
from DinoUNetCore.weights.hub_errors import explained

SMALL, LARGE = os.urandom(300_000), os.urandom(25 << 20)  # LARGE: some of the library's blocks of 10 MiB
TERMS = "the text of the DINOv3 License"
NOT_ACCEPTED = {license.VARIABLE: "0"}


@pytest.fixture(scope="module")
def hub():
    with HubStub() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(hub, home) -> dict[str, str]:
    return {**hub.environment(home), license.VARIABLE: "1", "DINOUNET_MODELS": str(home / "models")}


@pytest.fixture(scope="module")
def process(environment):
    with HubProcess(environment) as process:
        yield process


@pytest.fixture(autouse=True)
def nothing_goes_wrong(hub):
    yield
    hub.faults = Faults()


@pytest.fixture
def backbone(hub, request) -> str:
    """The name of a backbone that this test alone uses."""
    name = f"vit_dinov3.{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    hub.add(f"timm/{name}", {"model.safetensors": SMALL, "config.json": "{}", "LICENSE.md": TERMS, "README.md": "x"})
    hub.requests.clear()
    return name


@pytest.fixture
def bundle(tmp_path) -> Path:
    """The embedded model's folder, to be changed."""
    return Path(shutil.copytree(resources_folder() / "Models" / "phantom-tiny", tmp_path / "bundle"))


@pytest.fixture
def bundle_with_backbone(bundle) -> Path:
    (bundle / "backbone").mkdir()
    (bundle / "backbone" / "model.safetensors").write_bytes(SMALL)
    (bundle / "backbone" / "LICENSE.md").write_text(TERMS, encoding="utf-8")
    return bundle


def said(answer) -> str:
    """The one sentence of an answer that is a UserError."""
    assert answer.error == "UserError", answer
    assert "\n" not in answer.text and answer.text.endswith(".") and "Traceback" not in answer.text
    return answer.text


def names_in(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def ranges(hub) -> list[str]:
    """Which parts of large files were asked for."""
    return [request.range for request in hub.requests if request.path.startswith("/storage/")]


def cached(process, name) -> dict | None:
    return next((one for one in process.call("cached_backbones").result if one["name"] == name), None)


# fetching


def test_a_backbone_comes_with_its_licence_and_is_found_again_without_the_network(hub, process, backbone):
    assert process.call("cached_backbone", backbone).result is None and hub.requests == []
    answer = process.call("fetch_backbone", backbone)
    assert names_in(answer.result) == ["LICENSE.md", "config.json", "model.safetensors"]
    assert (Path(answer.result) / "model.safetensors").read_bytes() == SMALL
    total = len(SMALL) + len("{}") + len(TERMS)
    assert answer.progress[0] == [0, total] and answer.progress[-1] == [total, total]
    hub.requests.clear()
    assert process.call("cached_backbone", backbone).result == answer.result
    assert process.call("fetch_backbone", backbone, environment=NOT_ACCEPTED).result == answer.result
    assert hub.requests == []
    assert process.call("loaded", "torch").result is False


def test_before_a_download_the_licence_has_to_be_accepted(hub, process, backbone):
    answer = process.call("fetch_backbone", backbone, environment=NOT_ACCEPTED)
    assert answer.error == "LicenseNotAccepted" and license.URL in answer.text and backbone in answer.text
    assert hub.requests == []


def test_sharded_weights_count_when_all_shards_are_there(hub, process, backbone):
    hub.add(f"timm/{backbone}", {f"model-0000{k}-of-00002.safetensors": SMALL[k:] for k in (1, 2)})
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    hub.add(f"timm/{backbone}", {"model.safetensors.index.json": json.dumps({"weight_map": weight_map})})
    del hub.repositories[f"timm/{backbone}"]["model.safetensors"]
    answer = process.call("fetch_backbone", backbone)
    assert len([name for name in names_in(answer.result) if name.endswith(".safetensors")]) == 2
    assert process.call("cached_backbone", backbone).result == answer.result
    (Path(answer.result) / "model-00002-of-00002.safetensors").unlink()
    assert process.call("cached_backbone", backbone).result is None
    assert process.call("fetch_backbone", backbone).result == answer.result


def test_logins_are_told_to_the_hub_alone_not_to_its_storage(hub, process, backbone):
    process.call("fetch_backbone", backbone, environment={"HF_TOKEN": READER})
    tokens = {request.path.startswith("/storage/"): request.token for request in hub.requests}
    assert tokens == {False: READER, True: ""}


def test_a_cut_connection_is_taken_up_again_where_it_broke(hub, process, backbone):
    hub.add(f"timm/{backbone}", {"model.safetensors": LARGE})
    hub.faults.cut = 15 << 20
    answer = process.call("fetch_backbone", backbone)
    assert (Path(answer.result) / "model.safetensors").read_bytes() == LARGE
    assert [request.range for request in hub.requests if request.path.startswith("/storage/")] == [
        "",
        "bytes=10485760-",
    ]


def test_a_killed_download_is_listed_and_goes_on_in_the_next_process(hub, process, backbone, environment):
    hub.add(f"timm/{backbone}", {"model.safetensors": LARGE})
    hub.faults.cut = 15 << 20  # the first block arrives, the second does not
    with HubProcess(environment) as other:
        reports = iter(range(2))
        answer = other.call("fetch_backbone", backbone, on_progress=lambda: next(reports) == 1 and other.kill())
        assert answer.error == "ended"
    entry = cached(process, backbone)
    assert (entry["complete"], entry["size"]) == (False, 10 << 20)
    assert process.call("cached_backbone", backbone).result is None
    hub.faults = Faults()
    hub.requests.clear()
    answer = process.call("fetch_backbone", backbone)
    assert (Path(answer.result) / "model.safetensors").read_bytes() == LARGE
    assert answer.progress[0][0] == 10 << 20
    assert ranges(hub) == ["bytes=10485760-"]


def test_what_is_fetched_is_what_was_listed_though_it_is_renewed_meanwhile(hub, process, backbone):
    hub.faults.renewed = {"model.safetensors": LARGE, "LICENSE.md": b"newer terms"}
    folder = Path(process.call("fetch_backbone", backbone).result)
    assert (folder / "model.safetensors").read_bytes() == SMALL
    assert (folder / "LICENSE.md").read_text(encoding="utf-8") == TERMS
    assert process.call("cached_backbone", backbone).result == str(folder)


def test_where_there_are_no_links_weights_lie_on_the_disk_once(hub, environment, backbone, tmp_path):
    with HubProcess({**environment, "HF_HUB_DISABLE_SYMLINKS": "1", "HF_HOME": str(tmp_path)}) as process:
        answer = process.call("fetch_backbone", backbone)
        assert (Path(answer.result) / "model.safetensors").read_bytes() == SMALL
        assert len(SMALL) < cached(process, backbone)["size"] < 1.5 * len(SMALL)


# what goes wrong


def test_wrong_bytes_are_thrown_away(hub, process, backbone):
    hub.faults.wrong = True
    text = said(process.call("fetch_backbone", backbone))
    assert "damaged" in text and "try again" in text
    assert process.call("cached_backbone", backbone).result is None
    hub.faults = Faults()
    answer = process.call("fetch_backbone", backbone)
    assert (Path(answer.result) / "model.safetensors").read_bytes() == SMALL


def test_a_gated_repository_says_where_to_agree_and_how_to_log_in(hub, process, backbone):
    hub.faults.gated = True
    text = said(process.call("fetch_backbone", backbone))
    assert f"{hub.url}/timm/{backbone}" in text and "hf auth login" in text and "--backbone FILE" in text


@pytest.mark.parametrize("token", [None, READER])
def test_a_repository_that_is_not_there_is_named(process, token):
    text = said(process.call("fetch_bundle", "nobody/nothing", environment={"HF_TOKEN": token} if token else {}))
    assert "no repository nobody/nothing" in text and "check the name" in text


@pytest.mark.parametrize("name", ["a b/c", "a/b/c", "../x", "knee", ""])
def test_what_cannot_be_a_repository_is_told_before_anything_is_asked(hub, process, bundle, name):
    hub.requests.clear()
    assert "owner/name" in said(process.call("fetch_bundle", name))
    assert "owner/name" in said(push(process, bundle, name))
    assert process.call("cached_backbone", name).result is None
    assert hub.requests == []


def test_a_broken_hub_and_one_that_is_too_busy_are_told_apart(hub, process, backbone):
    hub.faults.error = 500
    assert "error 500" in said(process.call("fetch_backbone", backbone))
    hub.faults.error = 429
    assert "too many requests" in said(process.call("fetch_backbone", backbone))


def test_a_hub_that_breaks_after_it_has_listed_the_files_is_told_as_well(hub, process, bundle):
    hub.add_folder("me/half", bundle)
    hub.faults = Faults(error=501, error_in="/resolve/")
    assert "error 501" in said(process.call("fetch_bundle", "me/half"))


@pytest.mark.parametrize(
    "instead", ["<html>please log in</html>", "{}", "[]", '{"id": "a/b", "sha": "../../x"}', '{"id": "a/b"}']
)
def test_what_answers_and_is_no_hub_is_told(hub, process, backbone, instead):
    hub.faults.instead = instead
    text = said(process.call("fetch_backbone", backbone))
    assert "does not answer as a hub does" in text and "HF_ENDPOINT" in text


@pytest.mark.parametrize("name", ["../LICENSE", "a/../../LICENSE", "..\\LICENSE", "C:\\LICENSE", "/LICENSE"])
def test_files_outside_of_a_repository_are_not_downloaded(hub, process, backbone, name):
    hub.add(f"timm/{backbone}", {name: TERMS})
    text = said(process.call("fetch_backbone", backbone))
    assert f"its file {name} lies outside of it" in text
    assert [request.path for request in hub.requests] == [f"/api/models/timm/{backbone}"]


def test_a_login_that_cannot_be_one_is_told(process, backbone):
    answer = process.call("fetch_backbone", backbone, environment={"HF_TOKEN": "hf_\u201cquoted\u201d"})
    assert "your login has letters that no login has" in said(answer)


def test_mistakes_of_the_program_are_not_taken_for_the_network():
    with pytest.raises(ValueError, match="a mistake"), explained("x cannot be downloaded", "me/x", "or else"):
        raise ValueError("a mistake")


def test_a_hub_that_does_not_answer_is_given_up(hub, process, backbone):
    hub.faults.hang = True
    assert "check the network" in said(process.call("fetch_backbone", backbone))


def test_without_a_network_there_is_a_sentence_and_what_is_cached_works(hub, process, environment, backbone):
    hub.add(
        "me/offline", {path.name: path.read_bytes() for path in (resources_folder() / "Models/phantom-tiny").iterdir()}
    )
    folder = process.call("fetch_backbone", backbone).result
    bundle = process.call("fetch_bundle", "me/offline").result
    for change, words in (
        ({"HF_HUB_OFFLINE": "1"}, "offline mode"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the connection to http://127.0.0.1:9 failed"),
    ):
        with HubProcess({**environment, **change}) as cut_off:
            assert words in said(cut_off.call("fetch_backbone", "vit_other_dinov3"))
            assert words in said(cut_off.call("fetch_bundle", "me/other"))
            assert cut_off.call("fetch_backbone", backbone).result == folder
            assert cut_off.call("fetch_bundle", "me/offline").result == bundle


@pytest.mark.skipif(sys.platform == "win32", reason="a file's size cannot be limited there")
def test_a_full_disk_is_told_with_the_folder_and_what_is_needed_and_the_rest_is_kept(hub, process, backbone, home):
    hub.add(f"timm/{backbone}", {"model.safetensors": LARGE})
    process.call("limit_file_size", 12 << 20)
    text = said(process.call("fetch_backbone", backbone))
    process.call("limit_file_size", None)
    assert str(home / "hub") in text and "HF_HOME" in text and f"{(len(LARGE) - (12 << 20)) / 1e6:.1f} MB" in text
    answer = process.call("fetch_backbone", backbone)
    assert (Path(answer.result) / "model.safetensors").read_bytes() == LARGE
    assert answer.progress[0][0] == 12 << 20


def test_a_variant_without_public_weights_is_told(process):
    assert "no public backbone weights" in said(process.call("fetch_backbone", None))


def test_a_repository_without_weights_is_told(hub, process, backbone):
    del hub.repositories[f"timm/{backbone}"]["model.safetensors"]
    assert "no weights" in said(process.call("fetch_backbone", backbone))


# the cache


def test_what_is_removed_from_the_cache_is_gone(hub, process, backbone):
    process.call("fetch_backbone", backbone)
    entry = cached(process, backbone)
    assert entry["complete"] and len(SMALL) < entry["size"] < 1.1 * len(SMALL)
    assert process.call("remove_cached", backbone).result == entry["size"]
    assert cached(process, backbone) is None and process.call("cached_backbone", backbone).result is None
    assert "not in the hub's cache" in said(process.call("remove_cached", backbone))


def test_a_repository_with_the_same_commits_stays_in_the_cache(process, backbone, home):
    folder = Path(process.call("fetch_backbone", backbone).result).parents[1]
    copies = [f"{backbone}.copy{number}" for number in range(9)]
    for name in copies:
        shutil.copytree(folder, folder.with_name(f"models--timm--{name}"), symlinks=True)
    process.call("remove_cached", backbone)
    assert cached(process, backbone) is None
    assert all(cached(process, name)["complete"] for name in copies)


# bundles


def test_a_bundle_is_fetched_without_what_else_lies_there_and_renewed(hub, process, bundle):
    hub.add_folder("me/kidneys", bundle)
    hub.add("me/kidneys", {"notes.txt": "x", "model.bin": b"x", "license.txt": "my own", "old/config.json": "x"})
    folder = process.call("fetch_bundle", "me/kidneys").result
    assert names_in(folder) == ["README.md", "config.json", "license.txt", "model.safetensors"]
    hub.add("me/kidneys", {"README.md": "newer"})
    newer = process.call("fetch_bundle", "me/kidneys").result
    assert (Path(newer) / "README.md").read_text(encoding="utf-8") == "newer"
    hub.faults.hang = True
    assert process.call("fetch_bundle", "me/kidneys").result == newer


def test_a_repository_of_something_else_is_no_bundle(hub, process):
    hub.add("me/cats", {"model.safetensors": SMALL})
    assert "hf:me/cats is not a model bundle: it has no config.json" in said(process.call("fetch_bundle", "me/cats"))
    hub.add("me/cats", {"config.json": '{"model_type": "vit"}'})
    text = said(process.call("fetch_bundle", "me/cats"))
    assert "hf:me/cats is no model of Dino U-Net" in text


def test_a_bundle_that_holds_dinov3_weights_asks_for_their_licence(hub, process, bundle_with_backbone):
    hub.add_folder("me/travelling", bundle_with_backbone)
    answer = process.call("fetch_bundle", "me/travelling", environment=NOT_ACCEPTED)
    assert answer.error == "LicenseNotAccepted" and "hf:me/travelling" in answer.text
    assert "backbone/model.safetensors" in names_in(process.call("fetch_bundle", "me/travelling").result)


def stores_dinov3(bundle) -> None:
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    config["backbone"]["source"] = "timm"
    (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_a_bundle_whose_weights_began_as_dinov3_asks_for_the_licence_too(hub, process, bundle):
    stores_dinov3(bundle)
    hub.add_folder("me/tuned", bundle)
    assert process.call("fetch_bundle", "me/tuned", environment=NOT_ACCEPTED).error == "LicenseNotAccepted"


# pushing


def push(process, bundle, repository, token=WRITER, **options):
    return process.call("push_bundle", bundle, repository, *options.values(), environment={"HF_TOKEN": token or ""})


def test_a_pushed_bundle_is_the_one_that_is_fetched(hub, process, bundle):
    (bundle / "curves.png").write_bytes(b"picture")
    (bundle / "notes.txt").write_text("private", encoding="utf-8")
    assert push(process, bundle, "me/pushed").result == f"{hub.url}/me/pushed"
    pushed = {name: data for name, data in hub.repositories["me/pushed"].items() if name != ".gitattributes"}
    assert pushed == {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != "notes.txt"}
    assert b"license" not in pushed["README.md"].split(b"---")[1]  # nothing is claimed that we do not know
    folder = Path(process.call("fetch_bundle", "me/pushed").result)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == pushed


def test_pushing_again_renews_the_bundle_and_leaves_other_files(hub, process, bundle):
    push(process, bundle, "me/again")
    hub.add("me/again", {"notes.txt": "mine", "curves.png": b"old", "backbone/model.safetensors": SMALL})
    (bundle / "README.md").write_text("newer", encoding="utf-8")
    push(process, bundle, "me/again")
    files = hub.repositories["me/again"]
    assert sorted(files) == [".gitattributes", "README.md", "config.json", "model.safetensors", "notes.txt"]
    assert files["README.md"] == b"newer"


def test_a_private_repository_is_made_private(hub, process, bundle):
    push(process, bundle, "me/secret", private=True)
    assert "me/secret" in hub.private
    assert "it is private" in said(process.call("fetch_bundle", "me/secret"))


def test_dinov3_weights_are_pushed_with_their_licence_only_and_the_card_says_so(hub, process, bundle):
    stores_dinov3(bundle)
    text = said(push(process, bundle, "me/derived"))
    assert "no LICENSE file" in text and license.URL in text and "me/derived" not in hub.repositories
    (bundle / "LICENSE").write_text("the text of my own license", encoding="utf-8")
    assert "no LICENSE file" in said(push(process, bundle, "me/derived"))
    (bundle / "LICENSE.md").write_text(TERMS, encoding="utf-8")
    card = (bundle / "README.md").read_text(encoding="utf-8")
    push(process, bundle, "me/derived")
    pushed = hub.repositories["me/derived"]["README.md"].decode("utf-8")
    for line in ("license: other", "license_name: dinov3-license", f"license_link: {license.URL}"):
        assert line in pushed.split("---")[1].splitlines()
    assert pushed.split("---", 2)[2].strip() == card.split("---", 2)[2].strip()
    assert (bundle / "README.md").read_text(encoding="utf-8") == card
    assert hub.repositories["me/derived"]["LICENSE.md"] == TERMS.encode()


def test_a_backbone_beside_a_bundle_is_not_pushed_and_needs_no_licence_then(hub, process, bundle_with_backbone):
    (bundle_with_backbone / "backbone" / "LICENSE.md").unlink()
    push(process, bundle_with_backbone, "me/without-backbone")
    pushed = sorted(hub.repositories["me/without-backbone"])
    assert pushed == [".gitattributes", "README.md", "config.json", "model.safetensors"]


def test_pushing_without_login_or_permission_says_what_to_do(hub, process, bundle):
    assert "not logged in; run `hf auth login` or set HF_TOKEN" in said(push(process, bundle, "me/mine", token=None))
    assert "does not give your login the permission" in said(push(process, bundle, "me/mine", token=READER))
    assert "does not accept your login" in said(push(process, bundle, "me/mine", token="hf_old"))
    assert "me/mine" not in hub.repositories


def test_pushing_to_a_hub_that_is_away_is_told(hub, process, bundle):
    hub.faults.hang = True
    assert "check the network" in said(push(process, bundle, "me/mine"))


def test_what_is_no_bundle_or_is_damaged_is_not_pushed(hub, process, bundle, tmp_path):
    assert "does not exist" in said(push(process, tmp_path / "nothing", "me/nothing"))
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in said(push(process, tmp_path / "empty", "me/nothing"))
    (bundle / "model.safetensors").write_bytes(SMALL)
    assert "damaged" in said(push(process, bundle, "me/nothing"))
    assert "me/nothing" not in hub.repositories

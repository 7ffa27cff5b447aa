"""`models list` and `models license`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from models_command import put_into_cache, rename
from travelling import TINY

from DinoUNetCore.model_list import bytes_in_words
from DinoUNetCore.weights import backbone_store, library, license
from DinoUNetCore.weights.bundle_reading import load_bundle

ROOT = Path(__file__).resolve().parents[3]


def test_the_list_shows_what_there_is_and_where(call, folder, travelling, tmp_path):
    library.add(travelling)
    shutil.rmtree(rename(travelling, "hip", tmp_path / "hip") / "backbone")
    library.add(tmp_path / "hip")
    put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    put_into_cache(tmp_path, "vit_large_patch16_dinov3_qkvb.lvd1689m", complete=False)
    (folder / "\u809d\u81d3").mkdir()
    status, out, error = call("list")
    assert status == 0 and error == ""
    lines = out.splitlines()
    sha256 = backbone_store.entries()[0].sha256
    assert lines[0].split() == ["MODEL", "VARIANT", "SIZE", "BACKBONE", "STRUCTURES"]
    assert lines[1].startswith("phantom-tiny  tiny") and "in the model  10: " in lines[1] and lines[1].endswith("...")
    assert [line.split()[0] for line in lines[2:5]] == ["hip", "knee", "\u809d\u81d3"]
    assert "available     3: one, two, three" in lines[3] and "damaged, see below" in lines[4]
    size = bytes_in_words(backbone_store.entries()[0].size)
    assert [" ".join(line.split()) for line in lines[6:10]] == [
        "BACKBONE SHA-256 SIZE WHERE MODELS",
        f"{TINY.timm_model} {sha256[:12]} {size} library hip, knee",
        "vit_base_patch16_dinov3_qkvb.lvd1689m - 2.5 MB hub's cache -",
        "vit_large_patch16_dinov3_qkvb.lvd1689m - 2.5 MB hub's cache not usable, see below",
    ]
    assert lines[11].startswith(f"! {folder / chr(0x809D)}") and "broke off" in lines[12]
    assert f"Library:      {folder}" in lines and "DINOv3 License, not accepted yet: " in lines[-1]
    assert max(map(len, lines[:10])) <= 110


def test_the_list_for_programs_says_the_same_in_json(call, folder, travelling, tmp_path):
    library.add(travelling)
    backbone_store.remove(backbone_store.entries()[0].sha256)
    put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    status, out, _ = call("list", "--json")
    table = json.loads(out)
    assert status == 0 and table["folder"] == str(folder) and table["license"]["accepted"] is False
    phantom, knee = table["models"]
    assert (phantom["name"], phantom["source"], phantom["backbone"]["state"]) == ("phantom-tiny", "embedded", "stored")
    assert knee["backbone"] == {
        "state": "named",
        "name": TINY.timm_model,
        "sha256": load_bundle(folder / "knee").config["backbone"]["sha256"],
        "place": None,
    }
    assert knee["bytes"] == sum(path.stat().st_size for path in (folder / "knee").iterdir())
    (backbone,) = table["backbones"]
    assert (backbone["variant"], backbone["place"], backbone["bytes"]) == ("base", "cache", 2_500_003)  # and "abc"


def test_an_odd_model_does_not_end_the_list_nor_move_the_cursor(call, folder, travelling):
    for name, change in {
        "a": lambda config: config.update(architecture=[1]),
        "b": lambda config: config["architecture"].update(variant={"a": 1}),
        "c": lambda config: config["labels"][0].update(name="\x1b[2Jliver\nMODEL"),
        "d": lambda config: config["backbone"].update(name=["x"]),
    }.items():
        config = json.loads((rename(travelling, name, folder / name) / "config.json").read_text(encoding="utf-8"))
        change(config)
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "e\x1b[31m").mkdir()
    status, out, error = call("list")
    assert (status, error) == (0, "") and "\x1b" not in out and "\ufffd[2Jliver\ufffdMODEL" in out
    assert sum("damaged, see below" in line for line in out.splitlines()) == 4
    assert [model["name"] for model in json.loads(call("list", "--json")[1])["models"]][1:5] == ["a", "b", "c", "d"]


def test_next_to_nothing_is_imported_before_ctrl_c_is_taken_care_of():
    program = "import sys, DinoUNetCore.models; print(*sorted(m for m in sys.modules if m.startswith('DinoUNetCore.')))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    loaded = {name.removeprefix("DinoUNetCore.") for name in result.stdout.split()}
    assert loaded <= {
        "command_line",
        "errors",
        "files",
        "models",
        "models_parser",
        "weights",
        "weights.models_folder",
    }


@pytest.mark.parametrize("command", ["list", "list --json", "remove knee", "verify", "license --accept", "import {}"])
def test_what_needs_no_torch_does_not_load_it(travelling, command):
    library.add(travelling)
    program = (
        "import sys\n"
        "from DinoUNetCore.models import main\n"
        "main(sys.argv[1:])\n"
        "sys.exit('loads torch' if 'torch' in sys.modules else 0)\n"
    )
    arguments = command.format(travelling).split(" ")
    result = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# import


def test_the_licence_is_shown_accepted_and_remembered(call, monkeypatch):
    status, out, _ = call("license")
    assert status == 0 and license.URL in out and "not accepted yet" in out and "license --accept" in out
    assert "is accepted" in call("license", "--accept")[1]
    monkeypatch.setattr(license, "_accepted_here", False)
    assert "is accepted" in call("license")[1]

"""`models fetch` and `models push`, before a hub on this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from hub_stub import WRITER, HubStub
from travelling import LICENSE, SMALL, zipped

ROOT = Path(__file__).resolve().parents[3]


def hub_calls(hub, home, *calls, token=None):
    """Several commands in a process of its own that uses this hub; what each came to."""
    program = (
        "import json, sys\n"
        "from DinoUNetCore import command_line, models\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        command_line.run(lambda: models.main(arguments))\n"
        "    except SystemExit as end:\n"
        "        print(end.code)\n"
    )
    environment = {**os.environ, **hub.environment(home, token), "DINOUNET_MODELS": str(home / "models")}
    arguments = json.dumps([[str(argument) for argument in one] for one in calls])
    result = subprocess.run(
        [sys.executable, "-c", program, arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout, result.stderr


def test_backbones_and_models_are_fetched_ahead(small, tmp_path):
    with HubStub() as hub:
        hub.add_folder("me/knee", small / "bundle")
        hub.add(f"timm/{SMALL.timm_model}", {"model.safetensors": bytes(300_000), "LICENSE.md": LICENSE})
        fetch = ["fetch", "small"]
        out, error = hub_calls(
            hub,
            tmp_path / "home",
            fetch,
            ["fetch", "tiny"],
            ["fetch", "small", "vit_dinov3.unknown", "--accept-dinov3-license"],
            ["fetch", "hf:me"],
            ["fetch", "hf:me/knee", "--accept-dinov3-license"],
            fetch,
            ["list"],
        )
    lines = out.splitlines()
    assert lines[:4] == ["2", "2", "2", "2"]
    assert lines[4].startswith("the model knee is in the library (")
    assert lines[6].startswith(f"the backbone {SMALL.timm_model} is in the hub's cache (300.0 kB)")
    assert lines[7:10:2] == ["0", "0"] and lines[6] == lines[8]
    (knee,) = (line for line in lines if line.startswith("knee"))
    assert "available" in knee and f"Hub's cache:  {tmp_path / 'home' / 'hub'}" in lines
    errors = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert "--accept-dinov3-license" in errors[0] and "no public backbone weights tiny; name a variant" in errors[1]
    assert "no public backbone weights vit_dinov3.unknown" in errors[2] and "owner/name" in errors[3]


def test_a_model_is_pushed_from_the_library_or_a_zip(small, tmp_path):
    archive = zipped(Path(shutil.copytree(small / "bundle", tmp_path / "knee")))
    with HubStub() as hub:
        out, error = hub_calls(
            hub,
            tmp_path / "home",
            ["import", small / "bundle"],
            ["push", "knee", "hf:writer/one", "--private"],
            ["push", archive, "hf:writer/two"],
            ["push", "knee", "writer/three"],
            token=WRITER,
        )
        assert f"{hub.url}/writer/one" in out and f"{hub.url}/writer/two" in out, error
        assert "writer/one" in hub.private and "writer/two" not in hub.private
        weights = (small / "bundle" / "model.safetensors").read_bytes()
        assert hub.repositories["writer/one"]["model.safetensors"] == weights
        assert hub.repositories["writer/two"]["model.safetensors"] == weights
    assert "error: writer/three is no repository of the hub; write hf:OWNER/NAME." in error

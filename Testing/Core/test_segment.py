"""The segment command: files, folders, skipping, refusals, and what a killed run leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from DinoUNetCore.command_line import run
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.provenance import provenance
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.segment import main
from DinoUNetCore.volume.volume import channel_arrays
from DinoUNetCore.weights.bundle_reading import load_bundle

ROOT = Path(__file__).resolve().parents[2]


def write(path, shape=(3, 30, 40), seed=0, dtype=np.int16, spacing=(1.0, 1.0, 2.0)):
    array = np.random.default_rng(seed).normal(120, 40, shape).clip(0, 250).astype(dtype)
    image = sitk.GetImageFromArray(array, isVector=shape[-1] == 3)
    image.SetSpacing(spacing[: image.GetDimension()])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle(labels={"liver": 1, "left kidney": 5, "spleen": 9})


@pytest.fixture(scope="module")
def model(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    bundle.save(path)
    return path


def segment(model, *arguments):
    main(["-m", str(model), "--device", "cpu", *map(str, arguments)])


def refused(capsys, *arguments):
    """The sentence with which the command ends; its exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        run(lambda: main([str(argument) for argument in arguments]))
    assert ended.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def start(*arguments, **options):
    line = [sys.executable, "-m", "DinoUNetCore.segment", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)


def test_a_file_becomes_the_label_map_that_the_segmenter_makes(model, bundle, tmp_path, capsys):
    source = write(tmp_path / "scan.nii.gz")
    segment(model, "-i", source, "-o", tmp_path / "labels.seg.nrrd")
    written = sitk.ReadImage(str(tmp_path / "labels.seg.nrrd"))
    expected = Segmenter(bundle, "cpu").segment(sitk.ReadImage(str(source)))
    np.testing.assert_array_equal(channel_arrays(written)[0], channel_arrays(expected)[0])
    assert written.GetMetaData("Segment1_Name") == "left kidney"
    printed = capsys.readouterr().out
    count = int((channel_arrays(expected)[0] == 5).sum())
    assert f"{count:,} voxels" in printed
    assert f"{count * 0.002:,.1f} ml" in printed
    assert files_below(tmp_path) == ["labels.seg.nrrd", "scan.nii.gz"]


def test_planes_and_pieces_are_the_models_unless_others_are_named(random_bundle, tmp_path, capsys):
    bundle = random_bundle(planes=["axial", "coronal"])
    bundle = replace(bundle, config=bundle.config | {"postprocessing": {"keep_largest": ["two"]}})
    bundle.save(tmp_path / "model")
    source, output = write(tmp_path / "scan.nii.gz", (9, 30, 40)), tmp_path / "labels.nii.gz"
    made = []
    for arguments, options in (
        ([], {}),
        (["--planes", "axial"], {"planes": ["axial"]}),
        (["--planes", "Coronal,axial"], {"planes": ["axial", "coronal"]}),
        (["--no-keep-largest"], {"keep_largest": False}),
        (["--keep-largest"], {"keep_largest": True}),
    ):
        segment(tmp_path / "model", "-i", source, "-o", output, "--overwrite", *arguments)
        made.append(channel_arrays(sitk.ReadImage(str(output)))[0])
        expected = Segmenter(bundle, "cpu", **options).segment(sitk.ReadImage(str(source)))
        np.testing.assert_array_equal(made[-1], channel_arrays(expected)[0])
    assert np.array_equal(made[0], made[2])
    assert all(not np.array_equal(made[0], other) for other in (made[1], made[3], made[4]))
    capsys.readouterr()
    wrong = ["-m", tmp_path / "model", "-i", source, "-o", output, "--overwrite", "--planes"]
    assert "trained on axial, coronal slices, not on sagittal ones" in refused(capsys, *wrong, "sagittal")
    assert "'oblique' is none of axial, coronal, sagittal" in refused(capsys, *wrong, "axial,oblique")
    assert "names a plane twice" in refused(capsys, *wrong, "axial,axial")


def test_fast_mode_takes_every_second_slice_and_it_is_written_down(random_bundle, tmp_path, capsys):
    random_bundle(planes=["axial", "coronal"]).save(tmp_path / "model")
    bundle = load_bundle(tmp_path / "model")
    source = write(tmp_path / "scan.nii.gz", (9, 30, 40))
    segment(tmp_path / "model", "-i", source, "-o", tmp_path / "fast.nrrd", "--fast")
    assert re.search(r"fast\.nrrd \(\d+\.\d s\)\n", capsys.readouterr().out)
    written = sitk.ReadImage(str(tmp_path / "fast.nrrd"))
    segmenter = Segmenter(bundle, "cpu", fast=True)
    expected = segmenter.segment(sitk.ReadImage(str(source)))
    np.testing.assert_array_equal(channel_arrays(written)[0], channel_arrays(expected)[0])
    for name, fact in provenance(segmenter).items():
        assert written.GetMetaData(f"DinoUNet.{name}") == fact
    segment(tmp_path / "model", "-i", source, "-o", tmp_path / "short.nii.gz", "--precision", "bfloat16")
    assert re.search(r"short\.nii\.gz \(\d+\.\d s, cpu, bfloat16\)\n", capsys.readouterr().out)
    described = sitk.ReadImage(str(tmp_path / "short.nii.gz")).GetMetaData("ITK_FileNotes")
    assert described == f"random {bundle.sha256[:12]} cpu bfloat16"


def test_repeating_a_run_gives_the_same_file_to_the_bit(model, tmp_path):
    source = write(tmp_path / "scan.nii.gz")
    for folder in ("a", "b"):
        for ending in (".seg.nrrd", ".nrrd", ".mha", ".nii.gz"):
            segment(model, "-i", source, "-o", tmp_path / folder / f"labels{ending}")
    made = [[path.read_bytes() for path in sorted((tmp_path / folder).iterdir())] for folder in ("a", "b")]
    assert len(made[0]) == 5  # and a colour table
    assert made[0] == made[1]


def test_a_folder_goes_on_after_a_bad_file_and_ends_with_exit_code_2(model, tmp_path):
    for name in ("a.nii.gz", "c.nrrd"):
        write(tmp_path / "in" / name)
    write(tmp_path / "in" / "d.png", (30, 40), dtype=np.uint8)
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"this is no image")
    process = start("-m", model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "b.nii.gz" in errors[0]
    assert "1 of 4 cases" in errors[1]
    assert "Traceback" not in err
    assert "2D picture" in err  # a warning: the model knows volumes
    assert "d.png" in out
    assert files_below(tmp_path / "out") == ["a.ctbl", "a.nii.gz", "c.ctbl", "c.nii.gz", "d.ctbl", "d.png"]


def test_many_images_give_what_each_gives_alone_and_are_told_in_their_order(model, tmp_path, capsys):
    names = ["a", "b", "c", "d"]
    for seed, name in enumerate(names):
        write(tmp_path / "in" / f"{name}.nii.gz", (2 + seed, 30, 40), seed)
    (tmp_path / "in" / "bb.nii.gz").write_bytes(b"this is no image")
    with pytest.raises(UserError, match="1 of 5 cases"):
        segment(model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.out.splitlines() if ".nii.gz" in line] == names
    assert "bb.nii.gz" in printed.err
    for name in names:
        segment(model, "-i", tmp_path / "in" / f"{name}.nii.gz", "-o", tmp_path / "alone" / f"{name}.nii.gz")
        alone, among_others = (tmp_path / folder / f"{name}.nii.gz" for folder in ("alone", "out"))
        assert alone.read_bytes() == among_others.read_bytes()


def test_a_limit_on_memory_is_for_gpus(model, tmp_path, capsys):
    arguments = ("-i", write(tmp_path / "a.nii.gz"), "-o", tmp_path / "b.nii.gz", "--max-memory")
    segment(model, *arguments, "4.5")
    assert "no effect on the CPU" in capsys.readouterr().err
    assert "none is not a number above 0" in refused(capsys, "-m", model, *arguments, "none")


def test_existing_outputs_are_kept_unless_told_otherwise(model, tmp_path, capsys):
    write(tmp_path / "in" / "a.nii.gz")
    write(tmp_path / "in" / "b.nii.gz")
    precious = tmp_path / "out" / "a.nii.gz"
    precious.parent.mkdir()
    precious.write_bytes(b"precious")
    segment(model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert f"a: {precious} exists already" in capsys.readouterr().out
    assert precious.read_bytes() == b"precious"
    assert (tmp_path / "out" / "b.nii.gz").exists()
    segment(model, "-i", tmp_path / "in" / "a.nii.gz", "-o", precious)
    assert precious.read_bytes() == b"precious"
    segment(model, "-i", tmp_path / "in", "-o", tmp_path / "out", "--overwrite")
    assert sitk.ReadImage(str(precious)).GetSize() == (40, 30, 3)


def test_pictures_of_several_pages_are_written_as_volumes_and_then_skipped(model, tmp_path, capsys):
    write(tmp_path / "in" / "stack.tif", dtype=np.uint8)
    segment(model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert sitk.ReadImage(str(tmp_path / "out" / "stack.nii.gz")).GetSize() == (40, 30, 3)
    capsys.readouterr()
    segment(model, "-i", tmp_path / "in", "-o", tmp_path / "out")
    assert "exists already" in capsys.readouterr().out


def test_pictures_of_a_model_that_counts_in_pixels_may_store_any_resolution(random_bundle, tmp_path, capsys):
    bundle = random_bundle(channels=("red", "blue"), dimension=2, unit="pixel", spacing_range=[[1.0, 1.0]] * 3)
    bundle.save(tmp_path / "pixels")
    found = []
    for name, spacings in (("plain", (1.0, 1.0)), ("printed", (0.0846, 0.35))):
        files = [
            write(tmp_path / f"{name}_{seed}.png", (40, 50), seed, np.uint8, (spacing, spacing))
            for seed, spacing in enumerate(spacings)
        ]
        segment(tmp_path / "pixels", "-i", *files, "-o", tmp_path / f"{name}.mha")
        found.append(sitk.ReadImage(str(tmp_path / f"{name}.mha")))
        assert found[-1].GetSpacing() == sitk.ReadImage(str(files[0])).GetSpacing()  # the grid is the file's
    assert "warning" not in capsys.readouterr().err
    assert np.array_equal(*map(sitk.GetArrayFromImage, found)) and len(np.unique(sitk.GetArrayFromImage(found[0]))) > 1


def test_a_backbone_for_a_model_that_holds_its_own_is_said_to_be_useless(model, tmp_path, capsys):
    segment(model, "-i", write(tmp_path / "a.nii.gz"), "-o", tmp_path / "b.nii.gz", "--backbone", tmp_path / "x.pth")
    assert "--backbone has no effect" in capsys.readouterr().err


def test_channels_come_as_several_files_in_their_order(random_bundle, tmp_path):
    bundle = random_bundle(channels=("T1", "T2"))
    bundle.save(tmp_path / "two")
    first, second = (write(tmp_path / "in" / f"p_000{seed}.nii.gz", seed=seed) for seed in (0, 1))
    segment(tmp_path / "two", "-i", first, second, "-o", tmp_path / "files.mha")
    segment(tmp_path / "two", "-i", tmp_path / "in", "-o", tmp_path / "out", "--format", "mha")
    expected = Segmenter(bundle, "cpu").segment([sitk.ReadImage(str(path)) for path in (first, second)])
    for path in (tmp_path / "files.mha", tmp_path / "out" / "p.mha"):
        np.testing.assert_array_equal(channel_arrays(sitk.ReadImage(str(path)))[0], channel_arrays(expected)[0])


def test_channels_on_other_grids_need_an_option(random_bundle, tmp_path, capsys):
    random_bundle(channels=("T1", "T2")).save(tmp_path / "two")
    first = write(tmp_path / "t1.nii.gz")
    second = write(tmp_path / "t2.nii.gz", (6, 30, 40), 1, spacing=(1.0, 1.0, 1.0))
    arguments = ("-m", tmp_path / "two", "-i", first, second, "-o", tmp_path / "out.mha")
    sentence = refused(capsys, *arguments)
    assert "t2.nii.gz" in sentence
    assert "--resample-channels" in sentence
    segment(tmp_path / "two", *arguments[2:], "--resample-channels")
    written = sitk.ReadImage(str(tmp_path / "out.mha"))
    assert written.GetSize() == (40, 30, 3)
    assert written.GetMetaData("DinoUNet.Options") == "resample-channels"
    same = write(tmp_path / "t1b.nii.gz", seed=1)
    segment(tmp_path / "two", "-i", first, same, "-o", tmp_path / "same.mha", "--resample-channels")
    assert not sitk.ReadImage(str(tmp_path / "same.mha")).HasMetaDataKey("DinoUNet.Options"), "it changed nothing"


def test_all_options_together(model, tmp_path):
    threads = torch.get_num_threads()
    segment(
        model, "-i", write(tmp_path / "a.nii.gz"), "-o", tmp_path / "a.nrrd", "--mirror", "--keep-largest",
        "--probabilities", tmp_path / "p", "--batch-size", "2", "--threads", "1",
    )  # fmt: skip
    torch.set_num_threads(threads)  # of the whole process, hence of later tests
    assert files_below(tmp_path / "p") == ["a_1_liver.mha", "a_5_left_kidney.mha", "a_9_spleen.mha"]


def test_mistakes_are_told_in_one_sentence_and_nothing_is_written(model, tmp_path, capsys):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "colour.png", (30, 40, 3), dtype=np.uint8)
    write(tmp_path / "4d.nii.gz", (2, 3, 8, 9), spacing=(1.0,) * 4)
    (tmp_path / "empty.nrrd").touch()
    (tmp_path / "file").touch()
    before = files_below(tmp_path)
    a, out = tmp_path / "a.nii.gz", tmp_path / "new" / "out.nii.gz"
    for arguments, words in (
        (("-m", model, "-i", tmp_path / "none.nii", "-o", out), ["none.nii", "does not exist"]),
        (("-m", tmp_path / "none", "-i", a, "-o", out), ["none", "no model bundle"]),
        (("-m", model, "-i", a, "-o", out, "--device", "abacus"), ["abacus"]),
        (("-m", model, "-i", a, "-o", tmp_path / "new" / "x.docx"), ["x.docx", ".nii.gz"]),
        (("-m", model, "-i", a, "-o", tmp_path / "x.png"), ["x.png", "volume"]),
        (("-m", model, "-i", a, "-o", tmp_path / "file" / "x.nii"), ["file"]),
        (("-m", model, "-i", a, "-o", out, "--probabilities", tmp_path / "file" / "p"), ["file"]),
        (("-m", model, "-i", tmp_path / "colour.png", "-o", out), ["colour", "3 channels", "takes 1"]),
        (("-m", model, "-i", tmp_path / "4d.nii.gz", "-o", out), ["4d.nii.gz", "dimensions"]),
        (("-m", model, "-i", tmp_path / "empty.nrrd", "-o", out), ["empty.nrrd", "empty file"]),
        (("-m", model, "-i", a, "-o", out, "--batch-size", "none"), ["--batch-size", "none"]),
    ):
        sentence = refused(capsys, *arguments)
        assert all(word in sentence for word in words), sentence
        assert files_below(tmp_path) == before
        assert not (tmp_path / "new").exists()


def test_a_damaged_bundle_is_refused(model, bundle, tmp_path, capsys):
    bundle.save(tmp_path / "bad")
    config = json.loads((tmp_path / "bad" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config | {"format_version": 99}), encoding="utf-8")
    sentence = refused(capsys, "-m", tmp_path / "bad", "-i", write(tmp_path / "a.nii"), "-o", tmp_path / "b.nii")
    assert "format version 99" in sentence


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="permissions are a POSIX matter here")
def test_an_unwritable_folder_is_told_before_the_run(model, tmp_path, capsys):
    folder = Path("/proc") if os.geteuid() == 0 and Path("/proc").is_dir() else tmp_path / "locked"
    if folder.name == "locked":
        folder.mkdir(mode=0o500)
    sentence = refused(capsys, "-m", model, "-i", write(tmp_path / "a.nii"), "-o", folder / "b.nii")
    assert f"cannot write to {folder}" in sentence


def test_a_ct_model_warns_about_an_mr(random_bundle, tmp_path, capsys):
    ct = [{"scheme": "ct", "low": -900, "high": 300, "mean": 50, "std": 200}]
    random_bundle(channels=("CT",), normalization=ct, intensity_range=[[-1000, 900]]).save(tmp_path / "ct")
    segment(tmp_path / "ct", "-i", write(tmp_path / "mr.nii.gz"), "-o", tmp_path / "out.nii.gz")
    assert "warning: mr: its intensities" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_leaves_nothing_half_written(model, tmp_path):
    source = write(tmp_path / "in.nii.gz", (600, 130, 130))
    process = start(
        "-m", model, "-i", source, "-o", tmp_path / "out" / "x.nii.gz", "--probabilities", tmp_path / "p",
        # as at a terminal, also where the tests run in the background of a shell, which has them ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "p").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert files_below(tmp_path) == ["in.nii.gz"]


def test_help_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['SimpleITK'] = None\n"
        "import DinoUNetCore; assert 'Segmenter' in dir(DinoUNetCore)\n"
        "from DinoUNetCore.segment import main; main(['--help'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "--keep-largest" in done.stdout


def test_the_package_offers_its_names():
    import DinoUNetCore

    assert DinoUNetCore.Segmenter is Segmenter
    assert {"DinoUNet", "ModelBundle", "load_bundle"} <= set(dir(DinoUNetCore))
    assert all(getattr(DinoUNetCore, name) for name in DinoUNetCore.__all__)
    with pytest.raises(AttributeError):
        _ = DinoUNetCore.nothing

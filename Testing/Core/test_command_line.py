import subprocess
import sys
from pathlib import Path

import pytest

from DinoUNetCore import command_line
from DinoUNetCore.errors import Terminated, UserError
from DinoUNetCore.weights import license

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "DinoUNetCore").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)

LOADED_AT_ONCE = {"demo": {"numpy", "SimpleITK"}, "evaluate": {"numpy"}}
"""What these commands compute with throughout; it takes a tenth of a second. The others load nothing."""


def ended(command, capsys) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of `command_line.run`."""
    with pytest.raises(SystemExit) as caught:
        command_line.run(command)
    return (caught.value.code, *capsys.readouterr())


def failing(error: BaseException):
    def command():
        raise error

    return command


def test_success_ends_with_0_and_says_nothing(capsys):
    assert ended(lambda: None, capsys) == (0, "", "")


def test_a_users_mistake_ends_with_2_and_one_sentence(capsys):
    status, out, error = ended(failing(UserError("a.nii.gz is empty; export it again.")), capsys)
    assert (status, out, error) == (2, "", "error: a.nii.gz is empty; export it again.\n")


def test_ctrl_c_ends_with_130_without_a_traceback(capsys):
    status, _, error = ended(failing(KeyboardInterrupt()), capsys)
    assert status == 130
    assert error.startswith("error: interrupted") and "Traceback" not in error


def test_a_command_that_was_told_to_end_says_so_and_ends_with_143(capsys):
    assert ended(failing(Terminated("saved; go on.")), capsys) == (143, "", "saved; go on.\n")


def test_whoever_reads_only_the_first_lines_is_no_error():
    code = "from DinoUNetCore.command_line import run; run(lambda: [print('x' * 1000) for _ in range(1000)])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)


def test_the_licence_is_asked_for_once_and_the_work_is_done_then(tmp_path, monkeypatch):
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path))
    monkeypatch.delenv(license.VARIABLE, raising=False)
    monkeypatch.setattr(license, "_accepted_here", False)

    def work() -> str:
        license.require("the backbone small")
        return "done"

    with pytest.raises(license.LicenseNotAccepted):  # nobody sits before this process
        command_line.with_license(work, accepted=False)
    assert command_line.with_license(work, accepted=True) == "done"
    monkeypatch.setattr(license, "_accepted_here", False)
    assert command_line.with_license(work, accepted=False) == "done"  # remembered


def test_an_acceptance_that_cannot_be_remembered_counts_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "file" / "models"))
    monkeypatch.setattr(license, "_accepted_here", False)
    assert command_line.with_license(lambda: license.is_accepted(), accepted=True)
    assert "is not remembered" in capsys.readouterr().err


def test_our_own_mistakes_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        command_line.run(lambda: 1 / 0)


def test_options_are_refused_in_one_sentence(capsys):
    parser = command_line.Parser(prog="tool")
    parser.add_argument("--count", type=int)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--count", "many"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: argument --count: invalid int value") and error.count("\n") == 1


def test_all_commands_are_found():
    assert {"train", "evaluate", "demo", "phantom"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_without_loading_what_computes(command):
    heavy = {"torch", "timm", "monai", "matplotlib", "scipy", "SimpleITK", "numpy"} - LOADED_AT_ONCE.get(command, set())
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('DinoUNetCore.{command}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        f"    slow = {heavy!r} & set(sys.modules)\n"
        "    sys.exit(f'loads {slow}' if slow else end.code)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert f"python -m DinoUNetCore.{command}" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_ends_with_2_and_one_error_sentence(command):
    result = subprocess.run(
        [sys.executable, "-m", f"DinoUNetCore.{command}", "--no-such-option"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_a_full_disk_ends_with_2_and_names_the_file(capsys):
    status, _, error = ended(failing(OSError(28, "No space left on device", "run/log.csv")), capsys)
    assert status == 2
    assert error == "error: run/log.csv: No space left on device; check the name, the permissions and the disk.\n"

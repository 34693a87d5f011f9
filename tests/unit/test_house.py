"""The house keeps its own rules: imports, lint, types, what is in the wheel, what starts fast."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from longest import LONGEST, TESTS, put_longest_first

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "cv2", "tensorflow", "onnxruntime", "ai_edge_litert", "av", "msgspec", "sklearn", "rich")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_loads_no_heavy_module() -> None:
    code = (
        "import sys; sys.argv = ['edgeleuk', '--help']\n"
        "from edgeleuk.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split("LOADED ")[1].split())
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)
    assert "run" in done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "edgeleuk_convert.commands.train",
        "edgeleuk_convert.commands.convert",
        "edgeleuk_convert.commands.evaluate",
        "edgeleuk_calibration.selection",
        "edgeleuk_firmware_bridge",
        "edgeleuk_firmware_bridge.commands.mcu",
        "edgeleuk.deploy.microcontroller",
        "edgeleuk.commands.run",
    ],
)
def test_modules_load_without_tensorflow(module: str) -> None:
    code = f"import sys, {module}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "words",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=" ".join,
)
def test_checks_are_clean(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_rules_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    done = run("build", "--wheel", "--no-isolation", "--outdir", str(out), ".")
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return archive.namelist()


def test_the_wheel_holds_four_packages_and_nothing_else(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert tops == {"edgeleuk", "edgeleuk_convert", "edgeleuk_calibration", "edgeleuk_firmware_bridge"}


def test_the_wheel_holds_the_shipped_bundle_and_the_slide(wheel: list[str]) -> None:
    wanted = {
        "edgeleuk/models/default.edgeleuk",
        "edgeleuk/virtual/statistics.json",
        "edgeleuk/py.typed",
    }
    assert wanted <= set(wheel)
    assert any(name.endswith("LICENSE") for name in wheel)


def test_no_data_set_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pictures = [
        name
        for name in listed.stdout.splitlines()
        if name.endswith((".bmp", ".webp", ".jpg", ".jpeg", ".tif"))
    ]
    assert pictures == []


def test_the_longest_files_are_there_and_come_first(request: pytest.FixtureRequest) -> None:
    assert [file for file in LONGEST if not (TESTS / file).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
    here = request.node
    others = [pytest.Module.from_parent(request.session, path=TESTS / file) for file in LONGEST[:2]]
    items = [here, *others[::-1], here]
    put_longest_first(items)
    assert items == [*others, here, here]

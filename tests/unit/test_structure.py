"""The code keeps its own rules: structure, imports, lint, types, the wheel, what starts fast."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import structure
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
def measured() -> dict[str, Any]:
    return structure.measure(ROOT)


def test_no_module_imports_itself_by_a_detour(measured: dict[str, Any]) -> None:
    assert measured["circles_of_all"] == []
    for side, facts in measured["sides"].items():
        assert facts["circles_of_packages"] == [], side


def test_arrows_point_down_on_ten_floors_at_most(measured: dict[str, Any]) -> None:
    for side, facts in measured["sides"].items():
        assert facts["upward"] == [], side
        assert facts["floors_found"] <= structure.FLOORS, side
        assert facts["floors_drawn"] <= structure.FLOORS, side


def test_no_function_file_or_parameter_list_is_too_long(measured: dict[str, Any]) -> None:
    assert structure.broken(measured) == []


def _tree(root: Path, files: dict[str, str]) -> Path:
    """Write a small source tree with the four top packages and two drawn floors."""
    floors = '[[tool.importlinter.contracts]]\ntype = "layers"\ncontainers = ["edgeleuk"]\n'
    (root / "pyproject.toml").write_text(floors + 'layers = ["high", "low | other"]\n')
    empty = dict.fromkeys((f"{folder}/__init__.py" for folder in structure.SIDES.values()), "def f(): ...\n")
    for name, text in (empty | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("importing", "upward", "in_circle"),
    [
        ("from edgeleuk.high import a", 1, True),
        ("def late():\n    import edgeleuk.high.a", 1, True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgeleuk.high.a import x", 1, True),
        ("from ..high.a import x", 1, True),
        ("from edgeleuk.other import c", 1, False),
        ("from edgeleuk.errors import Wrong", 0, False),
        ("import os", 0, False),
    ],
)
def test_every_import_counts_wherever_it_stands(
    tmp_path: Path, importing: str, upward: int, in_circle: bool
) -> None:
    files = {
        "edgeleuk/high/__init__.py": "",
        "edgeleuk/high/a.py": "from edgeleuk.low import b\nx = b",
        "edgeleuk/low/__init__.py": "",
        "edgeleuk/low/b.py": importing,
        "edgeleuk/other/__init__.py": "",
        "edgeleuk/other/c.py": "",
        "edgeleuk/errors.py": "class Wrong(Exception): ...",
    }
    facts = structure.measure(_tree(tmp_path, files))["sides"]["device"]
    assert len(facts["upward"]) == upward
    assert facts["circles"] == ([["edgeleuk.high.a", "edgeleuk.low.b"]] if in_circle else [])


def test_lengths_are_measured_outside_the_command_line(tmp_path: Path) -> None:
    long = "def long(self, a, b=1, /, *c, d, **e):\n" + "    x = 1\n" * 90
    files = {"edgeleuk/low/b.py": long, "edgeleuk/cli/app.py": long + "    x = 1\n" * 900}
    measured = structure.measure(_tree(tmp_path, files))
    facts = measured["sides"]["device"]
    assert facts["longest_function"] == {"count": 91, "at": "edgeleuk/low/b.py:1 long"}
    assert facts["longest_file"] == {"count": 91, "at": "edgeleuk/low/b.py"}
    assert facts["longest_parameters"]["count"] == 5
    assert structure.broken(measured) == [
        "device: 91 lines in a function, at most 80: edgeleuk/low/b.py:1 long"
    ]


def test_six_equal_lines_of_two_files_repeat_and_five_do_not(tmp_path: Path) -> None:
    lines = [f"v{n} = {n}" for n in range(6)]
    six = "import os\n" + "\n\n# a comment\n".join(lines)
    files = {"edgeleuk/a.py": six, "edgeleuk/b.py": "\n".join(["w = 0", *lines])}
    found = structure.measure(_tree(tmp_path, files))["repeats"]
    assert found["lines"] == 12
    assert found["cases"] == [["edgeleuk/a.py:2-17", "edgeleuk/b.py:2-7"]]
    _tree(tmp_path, {"edgeleuk/b.py": "\n".join(lines[:5])})
    assert structure.measure(tmp_path)["repeats"]["lines"] == 0


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

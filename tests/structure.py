"""How the code is built, from its own syntax trees: packages, floors, circles, lengths, repeated lines.

    python tests/structure.py [--root DIR] [--json] [--repeats] [--check]

An import counts wherever it stands: at the top, under TYPE_CHECKING, or within a function. What import-linter
finds, by the contracts of pyproject.toml, is printed beside it.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SIDES = {
    "device": "edgeleuk",
    "workstation": "convert/edgeleuk_convert",
    "calibration": "calibration/edgeleuk_calibration",
    "bridge": "firmware_bridge/edgeleuk_firmware_bridge",
}
FLOORS, FUNCTION_LINES, FILE_LINES, PARAMETERS = 10, 80, 500, 8
# So many equal lines in a row are a repeat.
REPEATED = 6
Place = tuple[str, int, int]  # file, first and last line


@dataclass(frozen=True)
class Module:
    """One file of the sources.

    Attributes
    ----------
    name : str
        As it is imported.
    path : Path
    file : str
        Its path from the root.
    """

    name: str
    path: Path
    file: str

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        """The first part of its name below the top package; the top package's own is its ``__init__``."""
        return [*self.name.split("."), "__init__"][1]

    @property
    def is_cli(self) -> bool:
        return self.package.partition("_")[0] == "cli"

    def imports(self, known: Mapping[str, Module]) -> Iterator[tuple[str, int]]:
        """Yield the modules of `known` that it imports, and the lines where."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names if alias.name in known)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                for alias in node.names:
                    found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                    if found in known and found != self.name:
                        yield found, node.lineno

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - (self.path.name == "__init__.py")
        return ".".join(parts[: len(parts) - up] + ([node.module] if node.module else []))


def modules_of(root: Path, folder: str) -> dict[str, Module]:
    """Return the modules of a package by name."""
    base = root / folder
    found = {}
    for path in sorted(base.rglob("*.py")):
        parts = [base.name, *path.relative_to(base).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, str(path.relative_to(root)))
    return found


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of two or more (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for after in sorted(arrows.get(node, ())):
            if after not in index:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], index[after])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[-len(component) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def height(arrows: Mapping[str, set[str]]) -> int:
    """Return how many stand above one another in the longest chain; a circle counts as one."""
    name = {member: circle[0] for circle in circles(arrows) for member in circle}
    below: dict[str, set[str]] = defaultdict(set)
    for importer, imported in arrows.items():
        below[name.get(importer, importer)] |= {name.get(each, each) for each in imported}
    known: dict[str, int] = {}

    def of(node: str) -> int:
        if node not in known:
            known[node] = 1 + max((of(each) for each in below.get(node, set()) - {node}), default=0)
        return known[node]

    return max((of(node) for node in list(below)), default=1)


def drawn_floors(root: Path) -> dict[str, dict[str, int]]:
    """Return, by top package, on which floor each package is drawn in pyproject.toml; 0 is the highest."""
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    drawn: dict[str, dict[str, int]] = {}
    for contract in contracts:
        for container in contract.get("containers", []) if contract["type"] == "layers" else []:
            drawn[container] = {
                name.strip(" ()"): floor
                for floor, layer in enumerate(contract["layers"])
                for name in layer.replace(":", "|").split("|")
            }
    return drawn


def side_of(root: Path, folder: str, floors: Mapping[str, int]) -> dict[str, Any]:
    """Return what is to be said of one top package."""
    modules = modules_of(root, folder)
    by_module: dict[str, set[str]] = {name: set() for name in modules}
    by_package: dict[str, set[str]] = {module.package: set() for module in modules.values()}
    upward: list[str] = []
    for module in modules.values():
        for name, line in module.imports(modules):
            by_module[module.name].add(name)
            above, below = module.package, modules[name].package
            if above != below:
                by_package[above].add(below)
                if above in floors and below in floors and floors[above] >= floors[below]:
                    upward.append(f"{module.file}:{line} imports {name}")
    packages = {module.package for module in modules.values() if module.path.parent != root / folder} | {
        module.package for module in modules.values() if module.name.count(".") > 1
    }
    outside = [module for module in modules.values() if not module.is_cli]
    return {
        "files": len(modules),
        "packages": len(packages),
        "floors_drawn": len(set(floors.values())),
        # `python -m` starts the command line from no floor.
        "floors_found": height({name: below for name, below in by_package.items() if name != "__main__"}),
        "longest_chain_of_modules": height(by_module),
        "circles": circles(by_module),
        "circles_of_packages": circles(by_package),
        "upward": upward,
        "longest_function": max(longest_functions(outside)).as_dict(),
        "longest_file": max(Length(m.text.count("\n"), m.file) for m in outside).as_dict(),
        "longest_parameters": max(parameter_lists(outside)).as_dict(),
    }


@dataclass(frozen=True, order=True)
class Length:
    """Of what stands at one place."""

    count: int
    at: str

    def as_dict(self) -> dict[str, Any]:
        return {"count": self.count, "at": self.at}


def _functions(
    modules: Sequence[Module],
) -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield module, node


def longest_functions(modules: Sequence[Module]) -> list[Length]:
    """Return the lines of every function, its docstring among them."""
    return [
        Length((node.end_lineno or node.lineno) - node.lineno + 1, f"{module.file}:{node.lineno} {node.name}")
        for module, node in _functions(modules)
    ]


def parameter_lists(modules: Sequence[Module]) -> list[Length]:
    """Return how many parameters every function has, without `self` and `cls`."""
    found = []
    for module, node in _functions(modules):
        given = node.args
        names = [each.arg for each in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
        count = len([name for name in names if name not in {"self", "cls"}])
        count += (given.vararg is not None) + (given.kwarg is not None)
        found.append(Length(count, f"{module.file}:{node.lineno} {node.name}"))
    return found


def _lines(module: Module) -> list[tuple[int, str]]:
    """Return the lines that say something, with their numbers: no blank, comment or import."""
    imported: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    stripped = ((number, " ".join(line.split())) for number, line in enumerate(module.text.split("\n"), 1))
    return [
        (number, line)
        for number, line in stripped
        if line and not line.startswith("#") and number not in imported
    ]


@dataclass(frozen=True)
class Repeats:
    """Equal lines of different files.

    Attributes
    ----------
    lines : int
        That stand in another file too, all copies counted.
    of : int
        All lines that say something.
    cases : list of list of place
        Each block, the longest first, with all its places.
    """

    lines: int
    of: int
    cases: list[list[Place]]


def repeats(modules: Sequence[Module]) -> Repeats:
    """Find blocks of `REPEATED` or more equal lines in different files; indentation does not count."""
    texts = {module.file: _lines(module) for module in modules}
    windows: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for file, lines in texts.items():
        for first in range(len(lines) - REPEATED + 1):
            windows[tuple(line for _, line in lines[first : first + REPEATED])].append((file, first))
    shared = {key: places for key, places in windows.items() if len({file for file, _ in places}) > 1}
    marked = {(f, n + k) for places in shared.values() for f, n in places for k in range(REPEATED)}
    blocks: dict[tuple[str, ...], set[Place]] = defaultdict(set)
    for places in shared.values():
        for a, i in places:
            for b, j in places:
                if a < b and not (i and j and texts[a][i - 1][1] == texts[b][j - 1][1]):
                    length = _equal(texts[a][i:], texts[b][j:])
                    key = tuple(line for _, line in texts[a][i : i + length])
                    for file, first in ((a, i), (b, j)):
                        numbers = texts[file][first][0], texts[file][first + length - 1][0]
                        blocks[key].add((file, *numbers))
    cases = sorted(blocks.items(), key=lambda each: (-len(each[0]), sorted(each[1])))
    return Repeats(len(marked), sum(map(len, texts.values())), [sorted(places) for _, places in cases])


def _equal(one: Sequence[tuple[int, str]], other: Sequence[tuple[int, str]]) -> int:
    for length, ((_, a), (_, b)) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return length
    return min(len(one), len(other))


def import_linter(root: Path) -> str:
    """Return the last line of import-linter's answer, or why there is none."""
    command = Path(sys.executable).parent / "lint-imports"
    paths = os.pathsep.join(str((root / folder).parent) for folder in SIDES.values())
    try:
        done = subprocess.run(
            [str(command), "--no-cache"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
    except OSError as error:
        return f"not run: {error.strerror}"
    said = [line for line in done.stdout.splitlines() if line.startswith("Contracts: ")]
    return said[0] if said else f"exit code {done.returncode}"


def measure(root: Path = ROOT) -> dict[str, Any]:
    """Return all there is to say, but for import-linter's part; see `import_linter`."""
    drawn = drawn_floors(root)
    sides = {side: side_of(root, folder, drawn.get(Path(folder).name, {})) for side, folder in SIDES.items()}
    everything = {
        name: module for folder in SIDES.values() for name, module in modules_of(root, folder).items()
    }
    arrows = {name: {each for each, _ in module.imports(everything)} for name, module in everything.items()}
    found = repeats(list(everything.values()))
    in_tests = repeats(list(modules_of(root, "tests").values()))
    return {
        "sides": sides,
        "circles_of_all": circles(arrows),
        "repeats": {
            "lines": found.lines,
            "of": found.of,
            "cases": [[f"{file}:{first}-{last}" for file, first, last in places] for places in found.cases],
        },
        "repeats_of_tests": {"lines": in_tests.lines, "of": in_tests.of, "cases": len(in_tests.cases)},
    }


def broken(measured: Mapping[str, Any]) -> list[str]:
    """Return each bar that is not held, in words."""
    found = []
    for side, facts in measured["sides"].items():
        bars = (
            ("floors", facts["floors_found"], FLOORS, ""),
            ("circles", len(facts["circles"]), 0, facts["circles"]),
            ("upward imports", len(facts["upward"]), 0, facts["upward"]),
            (
                "lines in a function",
                facts["longest_function"]["count"],
                FUNCTION_LINES,
                facts["longest_function"]["at"],
            ),
            ("lines in a file", facts["longest_file"]["count"], FILE_LINES, facts["longest_file"]["at"]),
            (
                "parameters",
                facts["longest_parameters"]["count"],
                PARAMETERS,
                facts["longest_parameters"]["at"],
            ),
        )
        found += [f"{side}: {got} {what}, at most {most}: {at}" for what, got, most, at in bars if got > most]
    return found


def _table(measured: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'':26}" + "".join(f"{side:>14}" for side in measured["sides"])
    rows = (
        ("files", lambda facts: facts["files"]),
        ("packages", lambda facts: facts["packages"]),
        ("floors drawn", lambda facts: facts["floors_drawn"] or "-"),
        ("floors found", lambda facts: facts["floors_found"]),
        ("longest chain of modules", lambda facts: facts["longest_chain_of_modules"]),
        ("circles of modules", lambda facts: len(facts["circles"])),
        ("circles of packages", lambda facts: len(facts["circles_of_packages"])),
        ("upward imports", lambda facts: len(facts["upward"]) if facts["floors_drawn"] else "-"),
        ("longest function *", lambda facts: facts["longest_function"]["count"]),
        ("longest file *", lambda facts: facts["longest_file"]["count"]),
        ("most parameters *", lambda facts: facts["longest_parameters"]["count"]),
    )
    for name, value in rows:
        yield f"{name:26}" + "".join(f"{value(facts):>14}" for facts in measured["sides"].values())
    yield "* outside cli/"
    for facts in measured["sides"].values():
        for name in ("longest_function", "longest_file", "longest_parameters"):
            yield f"  {name.replace('_', ' ')}: {facts[name]['at']}"
    for name in ("repeats", "repeats_of_tests"):
        said = measured[name]
        cases = said["cases"] if isinstance(said["cases"], int) else len(said["cases"])
        share = said["lines"] / max(said["of"], 1)
        where = "tests" if name.endswith("tests") else "sources"
        yield (
            f"lines that repeat in the {where}, {REPEATED} or more: {said['lines']} of {said['of']},"
            f" {share:.2%}, in {cases} blocks"
        )


def main() -> int:
    """Print the figures; with --check, fail where a bar is not held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="a tree of the sources (default: this one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", action="store_true", help="list every repeated block with its places")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bar is not held")
    options = parser.parse_args()
    measured = measure(options.root.resolve())
    measured["import_linter"] = import_linter(options.root.resolve())
    measured["broken"] = broken(measured)
    if options.json:
        print(json.dumps(measured, indent=1))
    else:
        print(*_table(measured), f"import-linter: {measured['import_linter']}", sep="\n")
        print(*[f"not held: {each}" for each in measured["broken"]], sep="\n")
        if options.repeats:
            print(*[" = ".join(places) for places in measured["repeats"]["cases"]], sep="\n")
    return 1 if options.check and measured["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())

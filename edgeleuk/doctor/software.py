"""Checks of what is installed: packages, extras, OpenCV, runtimes, and the network that comes with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeleuk.doctor.findings import failure, ok, warning
from edgeleuk.doctor.system import SOFTWARE_S
from edgeleuk.errors import extra_cure
from edgeleuk.io.kernel import NO_DOT_PRODUCT, int8_dot_product

if TYPE_CHECKING:
    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

LEAST_OPENCV = (4, 11)
# A slow board reads libraries from its card first.
LIBRARY_S = 60.0
RUNTIME_S = 120.0
_ILLEGAL_INSTRUCTION = -4
# Runtimes that are never taken by themselves.
BY_NAME = ("openvino", "cuda", "tensorrt")
_HEADLESS = "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
# Words of an import's error -> what helps; the last fits all.
_OPENCV_CURES = (
    (("libGL", "libgthread", "libSM", "libXext"), _HEADLESS),
    (("numpy", "_ARRAY_API"), "pip install --upgrade numpy opencv-python-headless"),
    (("",), f"install it again: {_HEADLESS}"),
)


def packages(machine: Machine) -> list[Finding]:
    """Look for what all of edgeleuk needs, and for what disturbs it."""
    found = _software(machine)
    versions, needed = found.get("versions", {}), found.get("requires", {}).get("", [])
    if not needed:
        return [
            ok("packages", "edgeleuk runs from a folder and is not installed: nothing says what it needs")
        ]
    missing = [each for each in needed if not _satisfied(each, versions)]
    if missing:
        named = ", ".join(_with_version(each, versions) for each in missing)
        quoted = " ".join(f"'{each}'" for each in missing)
        return [failure("packages", f"missing or too old: {named}", f"pip install --upgrade {quoted}")]
    both = [versions.get(name) for name in ("opencv-python", "opencv-python-headless")]
    if None not in both and both[0] != both[1]:
        text = f"opencv-python {both[0]} and opencv-python-headless {both[1]} write over each other's files"
        return [warning("packages", text, _HEADLESS)]
    return [ok("packages", f"all {len(needed)} that the device needs are there")]


def extras(machine: Machine) -> list[Finding]:
    """Say which extras are installed, and how the others are."""
    found = _software(machine)
    versions = found.get("versions", {})
    offered = {name: needed for name, needed in found.get("requires", {}).items() if name}
    there = [name for name, needed in offered.items() if all(_satisfied(each, versions) for each in needed)]
    wanted = {
        "stage": machine.stage is not None,
        "onnx": machine.runtime == "onnxruntime",
        "openvino": machine.runtime == "openvino",
    }
    for name, is_wanted in wanted.items():
        if is_wanted and name in offered and name not in there:
            text = f"the settings need `{name}`, which is not installed"
            return [failure("extras", text, extra_cure(name))]
    others = [name for name in offered if name not in there]
    text = f"installed: {', '.join(there) or 'none'}"
    if others:
        text += f"; {extra_cure(','.join(others))} would add the others"
    return [ok("extras", text)]


def opencv(machine: Machine) -> list[Finding]:
    """Import OpenCV and let it read and write a picture."""
    found, error, _ = machine.probe("opencv", timeout_s=LIBRARY_S)
    reason = error or (found or {}).get("error", "")
    if reason or not found:
        cure = next(cure for words, cure in _OPENCV_CURES if any(word in reason for word in words))
        return [failure("opencv", f"does not load: {reason}", cure)]
    broken = [name for name, works in found["formats"].items() if not works]
    if broken:
        text = f"{found['version']} reads and writes no {' and no '.join(broken)}"
        return [failure("opencv", text, _HEADLESS)]
    if _numbers(found["version"]) < LEAST_OPENCV:
        text = f"{found['version']} is older than 4.11, with which edgeleuk is tested"
        return [warning("opencv", text, "pip install --upgrade opencv-python-headless")]
    if not found["optimized"]:
        text = f"{found['version']} is built without its fast code: pictures take several times as long"
        return [warning("opencv", text, _HEADLESS)]
    return [
        ok("opencv", f"{found['version']}, JPEG and PNG, {found['threads']} threads, {found['baseline']}")
    ]


def litert(machine: Machine) -> list[Finding]:
    """Let LiteRT judge the golden cells, and see by which kernels."""
    found, findings, error = _runtime(machine, "litert", "pip install --force-reinstall ai-edge-litert")
    if not found:
        return findings
    if not found["installed"]:
        return [failure("litert", "there is no TFLite interpreter", "pip install ai-edge-litert")]
    if "XNNPACK" not in error:
        text = "it runs without XNNPACK, its fast kernels: a cell takes several times as long"
        return [*findings, warning("xnnpack", text, "pip install --upgrade ai-edge-litert")]
    return [*findings, ok("xnnpack", "the fast kernels are in use")]


def onnxruntime(machine: Machine) -> list[Finding]:
    """Let ONNX Runtime judge the golden cells, where it is installed."""
    found, findings, _ = _runtime(machine, "onnxruntime", "pip install --force-reinstall onnxruntime")
    if not found:
        return findings
    if not found["installed"]:
        return [ok("onnxruntime", f"not installed; {extra_cure('onnx')} adds it")]
    return findings


def provider(machine: Machine) -> list[Finding]:
    """Let the runtime that the settings name judge the golden cells, where it is none of the bundle's own."""
    name = machine.runtime
    if name not in BY_NAME:
        return [ok("provider", f"the settings name none of {', '.join(BY_NAME)}")]
    found, findings, _ = _runtime(machine, name, "edgeleuk bench --runtime " + name)
    if found and not found["installed"]:
        return [failure(name, f"the settings name it, and {found['missing']} is missing", found["cure"])]
    if found and not found["tested"]:
        return [ok(name, "it is installed; the shipped bundle has no network for it to be tried with")]
    return findings


def dot_product(machine: Machine) -> list[Finding]:
    """Say whether the processor multiplies bytes fast, which nothing can change."""
    kind = int8_dot_product(machine.root)
    if kind is None:
        return [ok("int8", "the kernel does not tell whether the processor has an 8-bit dot product")]
    if kind == NO_DOT_PRODUCT:
        text = "the processor has no 8-bit dot product (VNNI, dotprod): int8 is about as fast as float32"
        return [ok("int8", text)]
    return [ok("int8", f"the processor has an 8-bit dot product ({kind}): int8 is faster than float32")]


def _runtime(machine: Machine, name: str, install: str) -> tuple[dict[str, Any], list[Finding], str]:
    """Run the self-test by one runtime; also return what the runtime said meanwhile."""
    found, error, said = machine.probe("runtime", name, timeout_s=RUNTIME_S)
    if said is not None and said.code == _ILLEGAL_INSTRUCTION:
        text = "it was ended by an illegal instruction: this version is built for a newer processor"
        package = _package(name)
        version = _software(machine).get("versions", {}).get(package, "2")
        return {}, [failure(name, text, f"install an earlier version: pip install '{package}<{version}'")], ""
    if error or not found:
        return {}, [failure(name, f"does not run: {error or 'it says nothing'}", install)], ""
    if "error" in found:
        return {}, [failure(name, found["error"], found["cure"] or install)], ""
    if not found["installed"]:
        return found, [], ""
    if found["moved"]:
        text = f"the self-test of the shipped network failed: {found['moved'][0]}"
        cure = f"install another version of the runtime, or edgeleuk again: {install}"
        return found, [failure(name, text, cure)], said.error if said else ""
    times = ", ".join(
        f"about {value:.{1 if value < 10 else 0}f} ms a cell in {precision}"
        for precision, value in found["ms"].items()
    )
    text = f"it judges the golden cells as it should, {times}"
    return found, [ok(name, text)], said.error if said else ""


def _software(machine: Machine) -> dict[str, Any]:
    found, _, _ = machine.probe("software", timeout_s=SOFTWARE_S)
    return found or {}


def _package(name: str) -> str:
    return "ai-edge-litert" if name == "litert" else name


def _satisfied(requirement: str, versions: dict[str, str]) -> bool:
    """Whether a package is there, and not older than its lower bound.

    Examples
    --------
    >>> _satisfied("numpy>=1.26", {"numpy": "2.2.1"}), _satisfied("av>=17", {"av": "12.3.0"})
    (True, False)
    """
    name = re.split(r"[\s<>=!~\[]", requirement)[0]
    version = versions.get(re.sub(r"[-_.]+", "-", name).lower())
    bound = re.search(r">=\s*([\d.]+)", requirement)
    return version is not None and (bound is None or _numbers(version) >= _numbers(bound[1]))


def _with_version(requirement: str, versions: dict[str, str]) -> str:
    name = re.split(r"[\s<>=!~\[]", requirement)[0]
    version = versions.get(re.sub(r"[-_.]+", "-", name).lower())
    return name if version is None else f"{name} {version}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])

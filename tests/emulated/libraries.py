"""What a call of the shipped network costs in each library, on an emulated Raspberry Pi 4 and 5.

Counts the instructions of a warm call, one thread at work, and tells how near the answer is to LiteRT's float
one. A library that fails is named with its cause. Prints a table on standard error and JSON on standard
output; exits 5 when something has to be installed first.

    python tests/emulated/libraries.py
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from boards import BOARDS, PI_4, Board, disguise  # noqa: E402
from common import REPOSITORY, MissingToolError, say  # noqa: E402
from roots import RELEASES, Root, check_tools  # noqa: E402

from edgeleuk.bundle.golden import decode_golden  # noqa: E402
from edgeleuk.bundle.manifest import GOLDEN  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk.inference.quantization import look_up, real_table  # noqa: E402

WORK = REPOSITORY / "runs" / "emulated_pi"
SITE = "/opt/libraries"
PACKAGES = ("ai-edge-litert", "onnxruntime", "openvino", "ncnn")
WAYS = (
    *(("litert", "float32"), ("litert", "int8")),
    *(("onnxruntime", "float32"), ("onnxruntime", "int8")),
    *(("openvino", "float32"), ("openvino", "float16"), ("openvino", "int8")),
    *(("ncnn", "float32"), ("ncnn", "float16")),
)


def write_networks(folder: Path) -> None:
    """Write the network as each library takes it, and one input: the values of a golden cell."""
    if shutil.which("pnnx") is None:
        raise MissingToolError(
            "pnnx not found: it brings PyTorch, so `pip install pnnx` in an environment of its own, in PATH"
        )
    folder.mkdir(parents=True, exist_ok=True)
    bundle = read_bundle("default")
    for name in ("float32.tflite", "int8.tflite", "int8.onnx"):
        (folder / name).write_bytes(bundle.members[f"model.{name}"])
    contract = bundle.manifest.input
    tensor = decode_golden(bundle.members[GOLDEN]).tensors[0]
    np.save(folder / "values.npy", look_up(real_table(contract.scale, contract.offset), tensor)[None])
    convert = [sys.executable, "-m", "tf2onnx.convert", "--opset", "18", "--tflite", "float32.tflite"]
    subprocess.run([*convert, "--output", "float32.onnx"], check=True, capture_output=True, cwd=folder)
    height, width, channels = contract.shape
    write_trunk(folder / "float32.onnx", folder / "trunk.onnx", [1, channels, height, width])
    shape = f"inputshape=[1,{channels},{height},{width}]"
    subprocess.run(["pnnx", "trunk.onnx", shape, "fp16=0"], check=True, capture_output=True, cwd=folder)


def write_trunk(source: Path, out: Path, shape: list[int]) -> None:
    """Leave out what turns layouts at both ends: NCNN takes and gives channels first."""
    import onnx

    model = onnx.load(source)
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type in ("Conv", "Clip", "Add")]
    first, last = nodes[0].input[0], nodes[-1].output[0]
    graph.ClearField("node")
    graph.node.extend(nodes)
    values = onnx.helper.make_tensor_value_info
    for field, name, size in ((graph.input, first, shape), (graph.output, last, None)):
        del field[:]
        field.append(values(name, onnx.TensorProto.FLOAT, size))
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    onnx.save(model, out)


def count(root: Root, board: Board, library: str, precision: str) -> dict[str, Any]:
    """Count the calls of one network in one library."""
    say(f"  {board.name}: {library} {precision}")
    marks, out = root.path / "root/marks", root.path / "root/answer.npy"
    marks.unlink(missing_ok=True)
    words = ("/calls/calls.py", library, precision, "/calls", "/root/answer.npy")
    try:
        root.python(board.cpu, *words, plugin=("-plugin", "file=/count.so,out=/root/marks"))
    except RuntimeError as error:
        return {"failed": str(error).strip().splitlines()[-1]}
    lines = (line.split() for line in marks.read_text().splitlines())
    calls = [int(instructions) for number, instructions in lines if number == "1"]
    return {"instructions": calls[-1], "answer": np.load(out)}


def on_board(root: Root, board: Board) -> dict[str, Any]:
    """Count all, and set the answers beside LiteRT's float one."""
    disguise(root.path, board)
    found = {way: count(root, board, *way) for way in WAYS}
    true = found["litert", "float32"]["answer"]
    for result in found.values():
        if "answer" in result:
            answer = result.pop("answer")
            result["correlation"] = round(float(np.corrcoef(answer, true)[0, 1]), 6)
    return {" ".join(way): result for way, result in found.items()}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return counts as Markdown: millions, part of LiteRT's int8 call, correlation with its float answer."""
    lines = [f"| millions of instructions a call | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for way in (" ".join(pair) for pair in WAYS):
        words = []
        for results in found.values():
            result = results[way]
            if "failed" in result:
                words.append(result["failed"])
                continue
            part = result["instructions"] / results["litert int8"]["instructions"]
            words.append(f"{result['instructions'] / 1e6:.1f}; {part:.2f}; {result['correlation']}")
        lines.append(f"| {way} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> int:
    try:
        check_tools()
        write_networks(WORK / "calls")
    except MissingToolError as error:
        say(f"error: {error}")
        return 5
    plugin = WORK / "count.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(HERE / "count.c")], check=True)
    root = Root(RELEASES[0], WORK / f"{RELEASES[0]}.root")
    say("  the root and the libraries")
    root.build()
    disguise(root.path, PI_4)
    if not (root.path / SITE.lstrip("/")).exists():
        root.python(
            PI_4.cpu,
            *("-m", "pip", "install", "--quiet", "--only-binary=:all:", "--root-user-action=ignore"),
            *("--target", SITE, *PACKAGES),
        )
    shutil.copytree(WORK / "calls", root.path / "calls", dirs_exist_ok=True)
    shutil.copy(HERE / "calls.py", root.path / "calls")
    shutil.copy(plugin, root.path)
    found = {board.name: on_board(root, board) for board in BOARDS}
    print(json.dumps(found))
    say(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

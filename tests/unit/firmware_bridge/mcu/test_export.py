"""Networks for microcontrollers: read from their bytes, measured, exported as C, compiled and run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flatbuffers
import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema  # noqa: TID253 - needs nothing but flatbuffers
from exported_c import STRICT, golden_program, run, tool
from foreign import BYTES, dense, pictures, separable
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.bundle.golden import decode_golden, encode_golden
from edgeleuk.bundle.manifest import (
    CALIBRATION,
    GOLDEN,
    LABELS,
    REQUIRED_MEMBERS,
    VALIDATION,
    Envelope,
    Manifest,
    OutputContract,
    Provenance,
)
from edgeleuk.bundle.reading import decode_bundle, read_bundle
from edgeleuk.bundle.writing import bundle_bytes, describe_members
from edgeleuk.deploy.deployment import Beside
from edgeleuk.deploy.microcontroller import MODEL, beside_network, deployed_model, deployment_of
from edgeleuk.errors import BundleError, CheckFailedError, UsageError
from edgeleuk_firmware_bridge.commands.results import BoardCheck, ExportedNetwork
from edgeleuk_firmware_bridge.mcu import export as mcu
from edgeleuk_firmware_bridge.mcu import tflm
from edgeleuk_firmware_bridge.mcu import vela as mcu_vela
from edgeleuk_firmware_bridge.mcu.flatbuffer import OPERATORS, Graph, Operator, Tensor, read_graph
from edgeleuk_firmware_bridge.mcu.memory import (
    Lifetime,
    bounded_arena,
    lifetimes,
    parse_size,
    peak_of,
    planned_bytes,
)
from edgeleuk_firmware_bridge.mcu.ops import SUPPORTED, resolver_methods

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.deploy.deployment import Deployment

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),  # TFLite, always
]
LINUX_X86 = sys.platform == "linux" and os.uname().machine == "x86_64"
# The packages have wheels for x86-64 alone; elsewhere the arena is bounded, which other tests see.
needs_tflm = pytest.mark.skipif(not LINUX_X86, reason="tflite-micro has wheels for x86-64 Linux alone")
NOTHING = Beside((), (), 0, ())
FITTING = ["--flash", "8M", "--ram", "8M"]


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle("default")


@pytest.fixture(scope="module")
def shipped_model(shipped: Bundle) -> bytes:
    return deployed_model(shipped)


def bundle_of(model: Any, output: OutputContract) -> Bundle:
    """Convert a small network of others' to int8 TFLite, and pack it with golden cells."""
    from edgeleuk_convert.environment import silenced
    from edgeleuk_convert.quantization.bias_correction import without_activation
    from edgeleuk_convert.quantization.calibration_data import calibration_input
    from edgeleuk_convert.quantization.tflite import to_tflite_int8, with_features

    bare, contract = without_activation(model, output)
    with silenced():
        network = to_tflite_int8(with_features(bare), calibration_input(pictures(), BYTES))
    vectors = replace(
        decode_golden(read_bundle("default").members[GOLDEN]),
        tensors=pictures()[:8], networks={}, log_odds=None, made_with=None,
    )  # fmt: skip
    members = dict.fromkeys(REQUIRED_MEMBERS, b"{}")
    members |= {MODEL: network, GOLDEN: encode_golden(vectors), VALIDATION: b'{"verdict": "pass"}'}
    labels = {"negative": contract.negative_label, "positive": contract.positive_label}
    members |= {LABELS: json.dumps(labels).encode(), CALIBRATION: b'{"images": [], "seed": 0}'}
    manifest = Manifest(
        schema_version=4, name=model.name, input=BYTES, output=contract,
        envelope=Envelope(area_um2=(20, 400)),
        provenance=Provenance(float_parent_sha256="0" * 64, architecture=model.name, parameters=1, tools={}),
        members=describe_members(members), licence="Apache-2.0", data_citation="none",
    )  # fmt: skip
    return decode_bundle(bundle_bytes(manifest, members), Path(f"{model.name}.edgeleuk"))


@pytest.fixture(scope="module")
def small() -> Bundle:
    """A bundle whose network gives three logits, and features."""
    labels = ("normal", "blast", "other")
    return bundle_of(separable(), OutputContract(kind="softmax", labels=labels, positive="blast"))


@pytest.fixture(scope="module")
def single() -> Bundle:
    """A bundle whose network gives a logit, and features."""
    from edgeleuk_convert.networks.loading import functional

    return bundle_of(functional(dense()), OutputContract(kind="probability"))


@pytest.fixture(params=["small", "single"])
def either(request: pytest.FixtureRequest) -> Bundle:
    found: Bundle = request.getfixturevalue(request.param)
    return found


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """Change a TFLite file by the schema's own code."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    change(tree)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class TestReading:
    def test_it_reads_what_the_schemas_own_code_reads(self, shipped_model: bytes, either: Bundle) -> None:
        names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"}
        for model in (shipped_model, either.members[MODEL]):
            graph, tree = read_graph(model), schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
            (theirs,) = tree.subgraphs
            assert graph.inputs == tuple(theirs.inputs)
            assert graph.outputs == tuple(theirs.outputs)
            kinds = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in tree.operatorCodes]
            assert graph.operator_names == tuple(kinds)
            for ours, operator in zip(graph.operators, theirs.operators, strict=True):
                assert ours.name == kinds[operator.opcodeIndex]
                assert ours.inputs == tuple(index for index in operator.inputs if index >= 0)
                assert ours.outputs == tuple(operator.outputs)
            for kept, tensor in zip(graph.tensors, theirs.tensors, strict=True):
                data = tree.buffers[tensor.buffer].data
                assert kept.shape == (() if tensor.shape is None else tuple(tensor.shape))
                assert kept.constant_bytes == (0 if data is None else len(data))
                scales = None if tensor.quantization is None else tensor.quantization.scale
                assert kept.scales == (0 if scales is None else len(scales))
                assert kept.scale == (None if not kept.scales else scales[0])

    def test_every_operation_has_its_name(self) -> None:
        names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"}
        assert all(names[number] == name for number, name in enumerate(OPERATORS) if number in names)

    @pytest.mark.parametrize("model", [b"", b"TFL3", bytes(8), b"\x10\0\0\0TFL3" + bytes(40), b"\xff" * 64])
    def test_what_is_none_is_refused(self, model: bytes) -> None:
        with pytest.raises(BundleError, match="the TFLite model cannot be read"):
            read_graph(model)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4),
        st.one_of(st.none(), st.integers(0, 9999)),
    )
    def test_damage_is_refused_or_read(
        self, tiny: bytes, changes: list[tuple[int, int]], cut: int | None
    ) -> None:
        model = bytearray(tiny)
        for at, value in changes:
            model[at % len(model)] = value
        try:
            graph = mcu.portable_graph(bytes(model[: None if cut is None else cut % len(model)]))
            bounded_arena(graph)
            peak_of(graph)
        except (BundleError, CheckFailedError) as error:
            assert str(error)  # noqa: PT017 - any other error fails the test

    @settings(deadline=None)
    @given(st.binary(max_size=400))
    def test_bytes_of_anybodys_are_refused(self, data: bytes) -> None:
        with pytest.raises(BundleError, match="cannot be read"):
            read_graph(data[:4] + b"TFL3" + data[4:])

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda tree: setattr(tree, "version", 4), "version 4"),
            (lambda tree: setattr(tree.subgraphs[0].operators[0], "opcodeIndex", 9), "kind 9 of"),
            (lambda tree: setattr(tree.subgraphs[0].tensors[0], "buffer", 999), "buffer 999 of"),
            (lambda tree: setattr(tree.subgraphs[0].tensors[0], "type", 99), "type 99"),
            (lambda tree: setattr(tree.subgraphs[0].tensors[0], "shape", [-1, 4]), "shape"),
            (lambda tree: setattr(tree.subgraphs[0], "inputs", [999]), "tensor 999 of"),
        ],
        ids=["version", "kind", "buffer", "type", "shape", "tensor"],
    )
    def test_numbers_that_lead_nowhere_are_named(
        self, tiny: bytes, change: Callable[[Any], None], sentence: str
    ) -> None:
        with pytest.raises(BundleError, match=sentence):
            read_graph(changed(tiny, change))

    def test_vectors_that_share_their_bytes_without_end_are_refused(self) -> None:
        # Five hundred operations that are one and the same, of two thousand inputs.
        tree = schema.ModelT()
        tree.version, tree.buffers, graph = 3, [schema.BufferT()], schema.SubGraphT()
        operator = schema.OperatorT()
        operator.inputs = [0] * 2000
        graph.tensors, graph.operators, tree.operatorCodes = (
            [schema.TensorT()],
            [operator],
            [schema.OperatorCodeT()],
        )
        tree.subgraphs = [graph]
        builder = flatbuffers.Builder(0)
        shared = operator.Pack(builder)
        codes, tensors = tree.operatorCodes[0].Pack(builder), graph.tensors[0].Pack(builder)
        vectors = []
        for count, offset in ((1, codes), (1, tensors), (500, shared)):
            builder.StartVector(4, count, 4)
            for _ in range(count):
                builder.PrependUOffsetTRelative(offset)
            vectors.append(builder.EndVector())
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, vectors[1])
        schema.SubGraphAddOperators(builder, vectors[2])
        only = schema.SubGraphEnd(builder)
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(only)
        graphs = builder.EndVector()
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, 3)
        schema.ModelAddOperatorCodes(builder, vectors[0])
        schema.ModelAddSubgraphs(builder, graphs)
        builder.Finish(schema.ModelEnd(builder), b"TFL3")
        with pytest.raises(BundleError, match="hold more than the file does"):
            read_graph(bytes(builder.Output()))


@pytest.fixture(scope="module")
def tiny() -> bytes:
    """An int8 network of two operations, small enough that damage hits what matters."""
    tree, graph = schema.ModelT(), schema.SubGraphT()
    tree.version, tree.buffers = 3, [schema.BufferT() for _ in range(2)]
    tree.buffers[1].data = np.arange(32, dtype=np.uint8)

    def tensor(name: str, shape: list[int], buffer: int = 0) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.INT8, buffer
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [0.5], [3]
        return made

    graph.tensors = [
        tensor("in", [1, 8]),
        tensor("weights", [4, 8], 1),
        tensor("mid", [1, 4]),
        tensor("out", [1, 4]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], []
    tree.operatorCodes = []
    for index, (name, inputs, output) in enumerate((("FULLY_CONNECTED", [0, 1, -1], 2), ("RELU", [2], 3))):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, [output]
        tree.operatorCodes.append(code)
        graph.operators.append(operator)
    tree.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_codes(tree: Any, *numbers: int) -> None:
    for code, number in zip(tree.operatorCodes, numbers, strict=False):
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)


class TestRefusals:
    def test_operations_that_tflite_micro_lacks_are_named(self, tiny: bytes) -> None:
        gelu, lstm = schema.BuiltinOperator.GELU, schema.BuiltinOperator.LSTM
        with pytest.raises(CheckFailedError, match=r"TFLite Micro lacks operations .* got GELU, LSTM;"):
            mcu.portable_graph(changed(tiny, lambda tree: with_codes(tree, gelu, lstm)))

    def test_custom_and_unknown_operations_are_named(self, tiny: bytes) -> None:
        def change(tree: Any) -> None:
            with_codes(tree, schema.BuiltinOperator.CUSTOM, 999)
            tree.operatorCodes[0].customCode = "FlexErf"

        with pytest.raises(CheckFailedError, match="got custom FlexErf, number 999"):
            mcu.portable_graph(changed(tiny, change))

    def test_weights_outside_the_flatbuffer_are_refused(self, tiny: bytes) -> None:
        def change(tree: Any) -> None:
            tree.buffers[1].data, tree.buffers[1].offset, tree.buffers[1].size = None, 4096, 32

        with pytest.raises(CheckFailedError, match="weights lie outside its flatbuffer"):
            mcu.portable_graph(changed(tiny, change))

    def test_several_graphs_are_refused(self, tiny: bytes) -> None:
        with pytest.raises(CheckFailedError, match="one graph goes to a microcontroller: got 2 graphs"):
            mcu.portable_graph(changed(tiny, lambda tree: tree.subgraphs.append(tree.subgraphs[0])))

    def test_floats_at_an_end_are_refused(self, tiny: bytes) -> None:
        def change(tree: Any) -> None:
            tree.subgraphs[0].tensors[3].type = schema.TensorType.FLOAT32

        with pytest.raises(CheckFailedError, match="int8 at its input and outputs: got FLOAT32 at out"):
            mcu.portable_graph(changed(tiny, change))

    @pytest.mark.parametrize("ends", [([], [3]), ([0, 2], [3]), ([0], [])])
    def test_other_numbers_of_ends_are_refused(self, tiny: bytes, ends: Any) -> None:
        def change(tree: Any) -> None:
            tree.subgraphs[0].inputs, tree.subgraphs[0].outputs = ends

        with pytest.raises(CheckFailedError, match="one input and some output"):
            mcu.portable_graph(changed(tiny, change))

    def test_a_rejected_bundle_is_refused(self, shipped: Bundle) -> None:
        members = {**shipped.members, VALIDATION: b'{"verdict": "fail", "reasons": ["too many flips"]}'}
        with pytest.raises(CheckFailedError, match="too many flips"):
            deployed_model(replace(shipped, members=members))

    @pytest.mark.parametrize("golden", [0, 65])
    def test_no_golden_cell_is_refused(self, shipped: Bundle, golden: int) -> None:
        with pytest.raises(UsageError, match="golden cells is out of range"):
            deployment_of(shipped, golden)

    @pytest.mark.parametrize("number", [0, 2])
    def test_golden_cells_of_another_shape_are_refused(self, small: Bundle, number: int) -> None:
        vectors = decode_golden(small.members[GOLDEN])
        odd = encode_golden(replace(vectors, tensors=vectors.tensors[:number, : -number or None]))
        bundle = replace(small, members={**small.members, GOLDEN: odd})
        with pytest.raises(
            BundleError, match=r"golden (cells of .* do not fit its network|vectors cannot be read)"
        ):
            deployment_of(bundle, 1)


RESOLVER_SCRIPT = """
import sys
from tflite_micro import runtime

for number in range(int(sys.argv[2])):
    model = open(f"{sys.argv[1]}/{number}.tflite", "rb").read()
    sys.stderr.write(f"<{number}>")
    sys.stderr.flush()
    try:
        runtime.Interpreter.from_bytes(model, arena_size=1 << 16)
    except (RuntimeError, AttributeError):
        pass
"""


@needs_tflm
def test_the_table_of_operations_is_what_the_resolver_finds(tmp_path: Path, tiny: bytes) -> None:
    # They are looked up in turn: if the first is there, it is the second, which never is, that is missed.
    absent = schema.BuiltinOperator.HASHTABLE
    for number in range(len(OPERATORS)):
        model = changed(tiny, lambda tree, number=number: with_codes(tree, number, absent))
        (tmp_path / f"{number}.tflite").write_bytes(model)
    command = [sys.executable, "-c", RESOLVER_SCRIPT, str(tmp_path), str(len(OPERATORS))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    answers = re.split(r"<(\d+)>", said)[1:]
    found = {
        OPERATORS[int(number)]
        for number, answer in zip(answers[::2], answers[1::2], strict=True)
        if "op code HASHTABLE\n" in answer and int(number) != absent
    }
    # Python's wrapper looks into a variable before the resolver does.
    assert found | {"VAR_HANDLE"} == SUPPORTED


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "size"), [("1", 1), ("256K", 262144), ("1M", 1 << 20), ("0.5MiB", 1 << 19), ("8 kB", 8192)]
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert parse_size(text, "--ram") == size

    @pytest.mark.parametrize("text", ["", "0", "K", "1G", "-1K", "nan", "1e6", "0.1", "9" * 13])
    def test_what_is_no_size_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="--ram is no size"):
            parse_size(text, "--ram")

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(0, 20)).map(
                lambda place: Lifetime(place[0], place[0] + place[1], 16 * place[2])
            ),
            max_size=14,
        )
    )
    def test_a_plan_holds_what_is_alive_and_no_more_than_all(self, places: list[Lifetime]) -> None:
        alive = [
            sum(place.size_bytes for place in places if place.first <= moment <= place.last)
            for moment in range(20)
        ]
        assert max(alive) <= planned_bytes(places) <= sum(place.size_bytes for place in places)

    def test_of_equal_places_the_last_is_planned_first_as_tflite_micro_does(self) -> None:
        places = [
            Lifetime(0, 0, 192), Lifetime(0, 1, 144),
            Lifetime(1, 5, 80), Lifetime(4, 5, 80), Lifetime(5, 6, 80),
        ]  # fmt: skip
        # The other way round, 336 would do.
        assert planned_bytes(places) == 416

    def test_the_peak_names_what_is_alive(self) -> None:
        tensors = tuple(
            Tensor(name, (1, size), "INT8") for name, size in zip("abcd", (16, 64, 160, 16), strict=True)
        )
        operators = (
            Operator("CONV_2D", (0,), (1,)),
            Operator("PAD", (1,), (2,)),
            Operator("MEAN", (2,), (3,)),
        )
        graph = Graph(("CONV_2D", "PAD", "MEAN"), tensors, operators, (0,), (3,))
        peak = peak_of(graph)
        assert peak is not None
        assert (peak.index, peak.operator, peak.size_bytes) == (1, "PAD", 224)
        assert [tensor.name for tensor in peak.tensors] == ["c", "b"]
        assert peak_of(replace(graph, operators=())) is None

    @needs_tflm
    def test_the_plan_is_tflite_micros_and_the_bound_is_above_it(
        self, shipped_model: bytes, either: Bundle
    ) -> None:
        for model in (shipped_model, either.members[MODEL]):
            graph = read_graph(model)
            bound = bounded_arena(graph)
            measured = tflm.measured_arena(model, bound)
            assert measured.head_bytes <= bound.head_bytes
            assert measured.size_bytes <= bound.size_bytes <= measured.size_bytes + 40_000
        assert planned_bytes(lifetimes(read_graph(shipped_model))) == 4_297_344

    @needs_tflm
    def test_the_measured_arena_is_the_least_that_holds_it(self, small: Bundle) -> None:
        model = small.members[MODEL]
        graph = read_graph(model)
        arena = tflm.measured_arena(model, bounded_arena(graph))
        sizes = [graph.tensors[index].size_bytes for index in graph.outputs]
        cell = bytes(graph.tensors[graph.inputs[0]].size_bytes)
        assert [*map(len, tflm.outputs_of(model, [cell], arena.size_bytes, sizes)[0])] == sizes
        with pytest.raises(CheckFailedError, match="TFLite Micro cannot run this network"):
            tflm.outputs_of(model, [cell], arena.size_bytes - 64, sizes)

    def test_without_tflite_micro_it_is_bounded(
        self, shipped_model: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tflm, "MODULE", "tflite_micro_that_nobody_has")
        arena = mcu.footprint_of(shipped_model, NOTHING).arena
        assert arena.measured_by is None
        assert arena.size_bytes * 17 / 16 <= arena.with_margin <= arena.size_bytes * 17 / 16 + 16

    @needs_tflm
    def test_a_network_at_which_tflite_micro_fails_is_refused(self, tiny: bytes) -> None:
        # Its first operation has neither the options nor the inputs that this kernel looks for.
        svdf = schema.BuiltinOperator.SVDF
        with pytest.raises(CheckFailedError, match="TFLite Micro cannot run this network"):
            mcu.footprint_of(changed(tiny, lambda tree: with_codes(tree, svdf)), NOTHING)

    @needs_tflm
    def test_what_has_no_end_is_ended(self, tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tflm, "TIMEOUT_S", 0.001)
        with pytest.raises(CheckFailedError, match="TFLite Micro does not come to an end"):
            mcu.footprint_of(tiny, NOTHING)
        monkeypatch.setattr(mcu_vela, "TIMEOUT_S", 0.001)
        with pytest.raises(CheckFailedError, match="Vela does not come to an end"):
            mcu_vela.vela_report(tiny, "ethos-u55-128")

    def test_a_version_that_prints_otherwise_is_refused(
        self, tiny: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tflm, "_work", lambda *_, **__: (b"", "Arena: 12 bytes"))
        with pytest.raises(CheckFailedError, match="does not tell its arena: got Arena: 12 bytes"):
            tflm.measured_arena(tiny, bounded_arena(read_graph(tiny)))


COMPARE = """
#include <stdint.h>
#include <stdio.h>
#include "edgeleuk_golden.h"
#include "edgeleuk_model.h"
#include "edgeleuk_tables.h"
int main(int argc, char** argv) {
  FILE* file = fopen(argv[argc - 1], "wb");
  if (file == 0 || (uintptr_t)edgeleuk_model % 16 != 0) return 1;
  fwrite(edgeleuk_model, 1, edgeleuk_model_size, file);
  fwrite(edgeleuk_byte_to_input, 1, sizeof edgeleuk_byte_to_input, file);
  fwrite(edgeleuk_golden_tensor, 1, sizeof edgeleuk_golden_tensor, file);
  fwrite(edgeleuk_golden_output0, 1, sizeof edgeleuk_golden_output0, file);
TABLES
  return fclose(file);
}
"""


def compiled_and_compared(exported: Path, network: Deployment, work: Path) -> None:
    """Compile an export as C and as C++, link it, and compare the arrays in the program with the bytes."""
    wanted = b"".join(
        (
            network.model,
            np.array(network.byte_table, np.int8).tobytes(),
            *(cell.tensor for cell in network.golden),
            *(cell.outputs[0] for cell in network.golden),
            *(table.data for table in network.beside.tables),
        )
    )
    tables = "\n".join(
        f"  fwrite(edgeleuk_{table.name}, 1, sizeof edgeleuk_{table.name}, file);"
        for table in network.beside.tables
    )
    (work / "compare.c").write_text(COMPARE.replace("TABLES", tables))
    sources = [*sorted(exported.glob("edgeleuk_*.c")), work / "compare.c"]
    for name, words in (("gcc", ["-std=c11"]), ("g++", ["-std=c++17", "-x", "c++"])):
        run(tool(name), "-O0", *words, *STRICT, f"-I{exported}", *sources, "-lm", "-o", work / name, cwd=work)
        run(work / name, work / "arrays", cwd=work)
        assert (work / "arrays").read_bytes() == wanted


def answered(network: Deployment) -> list[tuple[bytes, ...]]:
    """What TFLite Micro answers to the golden cells; what LiteRT did, where it is not installed."""
    if tflm.tool() is None:
        return [cell.outputs for cell in network.golden]
    arena = mcu.footprint_of(network.model, network.beside).arena
    inputs = [network.fed(cell.tensor) for cell in network.golden]
    sizes = [len(output) for output in network.golden[0].outputs]
    return tflm.outputs_of(network.model, inputs, arena.with_margin, sizes)


class TestExport:
    def test_what_is_exported_compiles_and_holds_the_bytes(self, either: Bundle, tmp_path: Path) -> None:
        exported, network = tmp_path / "export", deployment_of(either, 3)
        mcu.export(network, exported)
        compiled_and_compared(exported, network, tmp_path)
        assert "0 of 3 cells differ" in golden_program(exported, network, answered(network), tmp_path)
        run(tool("cmake"), "-S", exported, "-B", tmp_path / "build", cwd=tmp_path)
        run(tool("cmake"), "--build", tmp_path / "build", cwd=tmp_path)
        assert (tmp_path / "build" / "libedgeleuk_model.a").is_file()

    def test_the_shipped_bundle_compiles_too(
        self, edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path
    ) -> None:
        outcome = edgeleuk("mcu", "export", "default", "--out", "export", "--golden", 1, "--json")
        facts = json.loads(outcome.out)
        network = deployment_of(shipped, 1)
        compiled_and_compared(tmp_path / "export", network, tmp_path)
        said = golden_program(tmp_path / "export", network, answered(network), tmp_path)
        assert re.search(
            r"cell 0: network \d steps off; head equal; probability (\d+) of 10000, golden \1", said
        )
        assert facts["outputs"] == ["a map of 19 x 19 places with 112 channels each"]
        left = " ".join(facts["left_to_firmware"])
        assert "head for kinds, which is not exported" in left
        assert "14 hand-crafted features" in left
        assert (facts["golden"]["cells"], facts["schema_version"]) == (1, 1)
        header = (tmp_path / "export" / "edgeleuk_constants.h").read_text()
        assert "#define EDGELEUK_MAP_CHANNELS 112 " in header
        assert "#define EDGELEUK_VECTORS 2851 " in header
        if LINUX_X86:
            assert facts["golden"]["tflite_micro_steps"] == 0
            assert facts["ram"]["known"] == "measured"

    @needs_tflm
    def test_tflite_micro_gives_what_litert_gives(self, either: Bundle, tmp_path: Path) -> None:
        deployment = deployment_of(either, 8)
        exported = mcu.export(deployment, tmp_path)
        # The reference kernels; the fast ones round otherwise, each layer anew.
        assert exported.steps == 0
        assert deployment.fast_log_odds < 0.1
        assert len({cell.outputs[0] for cell in deployment.golden}) > 1

    @needs_tflm
    def test_other_golden_outputs_are_refused(self, small: Bundle, tmp_path: Path) -> None:
        deployment = deployment_of(small, 1)
        (cell,) = deployment.golden
        wrong = tuple(bytes((byte + 2) % 256 for byte in output) for output in cell.outputs)
        with pytest.raises(
            CheckFailedError, match=r"gives something else than the reference kernels .* got \d+ st"
        ):
            mcu.export(replace(deployment, golden=(replace(cell, outputs=wrong),)), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_hashes_are_those_of_the_files(self, small: Bundle, tmp_path: Path) -> None:
        exported = mcu.export(deployment_of(small, 1), tmp_path)
        lines = dict(line.split("  ")[::-1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines())
        assert lines == exported.files
        for name, digest in lines.items():
            assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
        assert {*lines, "SHA256SUMS"} == {file.name for file in tmp_path.iterdir()}

    def test_the_same_again_gives_the_same_and_leaves_what_is_not_its_own(
        self, small: Bundle, tmp_path: Path
    ) -> None:
        (tmp_path / "board.c").write_text("mine")
        (tmp_path / "main.cc").write_text("of an earlier export")
        first = mcu.export(deployment_of(small, 1), tmp_path).files
        assert mcu.export(deployment_of(small, 1), tmp_path).files == first
        assert (tmp_path / "board.c").read_text() == "mine"
        assert not list(tmp_path.glob(".*"))

    def test_what_cannot_be_written_leaves_no_half_file(self, small: Bundle, tmp_path: Path) -> None:
        (tmp_path / "main.cc").mkdir()
        with pytest.raises(UsageError, match="the export cannot be written"):
            mcu.export(deployment_of(small, 1), tmp_path)
        assert not list(tmp_path.glob(".*"))

    def test_what_text_of_a_bundle_says_stays_in_its_comment(self, small: Bundle, tmp_path: Path) -> None:
        hostile = replace(deployment_of(small, 1), name="*/ int x; /*", licence='"\n#error\\', golden_by="*/")
        mcu.export(hostile, tmp_path)
        source = tmp_path / "edgeleuk_golden.c"
        run(tool("gcc"), "-std=c11", *STRICT, "-fsyntax-only", source, cwd=tmp_path)

    def test_the_resolver_has_what_the_network_has_and_no_more(self, small: Bundle, tmp_path: Path) -> None:
        mcu.export(deployment_of(small, 1), tmp_path)
        methods = re.findall(r"resolver\.(\w+)\(\)", (tmp_path / "edgeleuk_operators.h").read_text())
        assert tuple(methods) == resolver_methods(read_graph(small.members[MODEL]))
        assert f"EDGELEUK_OPERATOR_KINDS {len(methods)}\n" in (tmp_path / "edgeleuk_constants.h").read_text()


class TestCommands:
    def test_the_shipped_bundle_is_too_large_and_why(self, edgeleuk: Callable[..., Outcome]) -> None:
        outcome = edgeleuk("mcu", "check", "default", "--flash", "1M", "--ram", "256K")
        assert outcome.code == 3
        assert "3,326,976 block2_depthwise_relu_1/Relu6 1x76x76x144\n" in outcome.out
        assert "2,569,484 support vectors\n" in outcome.out
        assert "229,700 forest\n" in outcome.out
        assert "1,524,906 head for kinds, not carried and not counted\n" in outcome.out
        assert "verdict   too large" in outcome.out

    def test_a_small_network_fits(
        self, edgeleuk: Callable[..., Outcome], small: Bundle, tmp_path: Path
    ) -> None:
        file = tmp_path / "small.edgeleuk"
        file.write_bytes(bundle_bytes(small.manifest, small.members))
        outcome = edgeleuk("mcu", "check", file, "--flash", "1M", "--ram", "256K", "--json")
        facts = json.loads(outcome.out)
        # As the published schema has it, and nothing besides.
        assert json.loads(msgspec.json.encode(msgspec.json.decode(outcome.out, type=BoardCheck))) == facts
        assert (outcome.code, facts["verdict"]) == (0, "fits")
        assert facts["flash"]["bytes"] == len(small.members[MODEL])
        assert facts["flash"]["left_bytes"] + facts["flash"]["bytes"] == 1 << 20
        assert beside_network(small, (3, 12)).tables == ()
        outcome = edgeleuk("mcu", "export", file, "--out", "out")
        assert outcome.code == 0
        assert "the answer: " in outcome.out
        assert "make the input tensor" in outcome.out
        outcome = edgeleuk("mcu", "export", file, "--out", "out", "--json")
        written = msgspec.json.decode(outcome.out, type=ExportedNetwork)
        assert json.loads(msgspec.json.encode(written)) == json.loads(outcome.out)
        assert written.flash.bytes == facts["flash"]["bytes"]
        assert edgeleuk("mcu", "check", file, "--flash", "1K", "--ram", "1M").code == 3

    @needs_tflm
    def test_vela_reports(self, edgeleuk: Callable[..., Outcome]) -> None:
        outcome = edgeleuk("mcu", "check", "default", *FITTING, "--vela", "ethos-u55-128", "--json")
        report = json.loads(outcome.out)["vela"]
        assert outcome.code == 0
        assert report["npu_operators"] >= 38
        assert report["sram_bytes"] > 1 << 20
        assert (
            "ethos-u55-128: " in edgeleuk("mcu", "check", "default", *FITTING, "--vela", "ethos-u55-128").out
        )

    def test_a_missing_vela_comes_with_its_cure(
        self, edgeleuk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, shipped: Bundle
    ) -> None:
        monkeypatch.setattr(mcu_vela, "MODULE", "vela_that_nobody_has")
        monkeypatch.setattr(mcu_vela, "PROGRAM", "vela-that-nobody-has")
        outcome = edgeleuk("mcu", "check", "default", *FITTING, "--vela", "ethos-u55-128")
        assert outcome.code == 5
        assert "pip install 'edgeleuk[vela]'" in outcome.err

    @needs_tflm
    def test_what_vela_cannot_compile_is_refused(self) -> None:
        with pytest.raises(CheckFailedError, match="Vela cannot compile this network"):
            mcu_vela.vela_report(b"no network", "ethos-u55-128")

    @pytest.mark.parametrize(
        ("words", "code", "sentence"),
        [
            (["check", "none.edgeleuk", *FITTING], 2, "there is no such bundle"),
            (["check", "default", "--flash", "1M"], 2, "Missing option '--ram'"),
            (["check", "default", "--flash", "much", "--ram", "1M"], 2, "--flash is no size: got 'much'"),
            (["check", "default", *FITTING, "--vela", "ethos"], 2, "there is no such Ethos-U: got 'ethos'"),
            (["export", "default", "--out", "file"], 2, "an export goes into a folder: got the file file"),
            (["export", "default", "--out", "file/in"], 2, "an export goes into a folder: got the file "),
            (["export", "default", "--out", "x" * 300], 2, "cannot be written to xxx"),
            (["export", "default", "--out", "x", "--golden", "0"], 2, "golden cells is out of range: got 0"),
            (["export", "file", "--out", "x"], 7, "is no bundle"),
            (
                ["export", "lacking.edgeleuk", "--out", "x"],
                3,
                "TFLite Micro lacks operations of this network: got GELU",
            ),
            (["check", "lacking.edgeleuk", *FITTING], 3, "got GELU"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_bad_input_is_one_sentence(
        self,
        edgeleuk: Callable[..., Outcome],
        tmp_path: Path,
        shipped: Bundle,
        words: list[str],
        code: int,
        sentence: str,
    ) -> None:
        (tmp_path / "file").write_text("no folder, and no bundle")
        if "lacking.edgeleuk" in words:
            gelu = schema.BuiltinOperator.GELU
            model = changed(shipped.members[MODEL], lambda tree: with_codes(tree, gelu))
            members = {**shipped.members, MODEL: model}
            manifest = shipped.manifest
            described = Manifest(
                **{name: getattr(manifest, name) for name in manifest.__struct_fields__}
                | {"members": describe_members(members)}
            )
            (tmp_path / "lacking.edgeleuk").write_bytes(bundle_bytes(described, members))
        outcome = edgeleuk("mcu", *words)
        assert (outcome.code, outcome.out) == (code, "")
        assert sentence in outcome.err
        assert "Traceback" not in outcome.err
        assert not (tmp_path / "x").exists()

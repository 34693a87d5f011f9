"""A network for a microcontroller: whether it fits, and its export as C."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import CheckFailedError, UsageError
from edgeleuk.io.atomic import replace_file
from edgeleuk_firmware_bridge.mcu import sources, tflm
from edgeleuk_firmware_bridge.mcu.flatbuffer import read_graph
from edgeleuk_firmware_bridge.mcu.memory import bounded_arena, largest_weights, peak_of
from edgeleuk_firmware_bridge.mcu.ops import resolver_methods

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.deploy.deployment import Beside, Deployment
    from edgeleuk_firmware_bridge.mcu.flatbuffer import Graph, Tensor
    from edgeleuk_firmware_bridge.mcu.memory import Arena, NamedSize, Peak

HASHES = "SHA256SUMS"
# Files of this package that go out as they are.
AS_THEY_ARE = ("edgeleuk_judge.h", "edgeleuk_judge.c", "main.cc")
LARGEST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a network takes, and what makes it so large.

    Attributes
    ----------
    model_bytes, input_bytes : int
        Of the network, and of its input, which lies in the arena.
    beside : Beside
        What else a firmware needs to make a call.
    methods : tuple of str
        Of the resolver.
    arena : Arena
    weights : tuple of NamedSize
        The largest.
    peak : Peak or None
    """

    model_bytes: int
    input_bytes: int
    beside: Beside
    methods: tuple[str, ...]
    arena: Arena
    weights: tuple[NamedSize, ...]
    peak: Peak | None

    @property
    def flash_bytes(self) -> int:
        """The network, and what stands beside it; code comes on top."""
        return self.model_bytes + sum(size for _, size in self.beside.parts)

    @property
    def ram_bytes(self) -> int:
        """The arena to reserve, and what is kept of a cell beside it; the rest of the program on top."""
        return self.arena.with_margin + self.beside.cell_bytes


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    footprint : Footprint
    golden_cells, golden_bytes : int
        How many, and what they take of flash in the program that runs them.
    steps : int or None
        By how much TFLite Micro's outputs differ from the golden ones here; None where it is not installed.
    files : dict of str to str
        sha256 of each.
    """

    footprint: Footprint
    golden_cells: int
    golden_bytes: int
    steps: int | None
    files: dict[str, str]


def portable_graph(model: bytes) -> Graph:
    """Read a network, and refuse what does not run on a microcontroller.

    Raises
    ------
    BundleError
        It is damaged.
    CheckFailedError
        It has operations that TFLite Micro lacks, keeps weights outside, or is not int8 at its ends.
    """
    graph = read_graph(model)
    resolver_methods(graph)
    ends = [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]
    if len(graph.inputs) != 1 or not graph.outputs:
        raise CheckFailedError(
            "a network with one input and some output is exported",
            got=f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
        )
    for end in ends:
        if end.dtype != "INT8" or end.scale is None:
            raise CheckFailedError(
                "a network for a microcontroller is int8 at its input and outputs",
                got=f"{end.dtype} at {end.name}",
                cure="convert it without --repair, which may leave its ends in float",
            )
    return graph


def output_widths(model: bytes) -> tuple[int, ...]:
    """Return the length of the last axis of each output.

    Raises
    ------
    BundleError, CheckFailedError
        As `portable_graph`.
    """
    graph = portable_graph(model)
    return tuple(graph.tensors[index].shape[-1] for index in graph.outputs)


def footprint_of(model: bytes, beside: Beside) -> Footprint:
    """Measure what a network takes; the arena is bounded where `tflite-micro` is not installed.

    Raises
    ------
    BundleError, CheckFailedError
        As `portable_graph`, and where TFLite Micro cannot take the network.
    """
    return _footprint(portable_graph(model), model, beside)


def _footprint(graph: Graph, model: bytes, beside: Beside) -> Footprint:
    bound = bounded_arena(graph)
    return Footprint(
        len(model),
        graph.tensors[graph.inputs[0]].size_bytes,
        beside,
        resolver_methods(graph),
        tflm.measured_arena(model, bound) if tflm.tool() else bound,
        largest_weights(graph, LARGEST_SHOWN),
        peak_of(graph),
    )


def export(network: Deployment, folder: Path) -> Exported:
    """Write a network as C, with hashes; run its golden vectors in TFLite Micro where that is installed.

    Files that an earlier export left are replaced, each at once; others stay.

    Raises
    ------
    UsageError
        `folder` cannot be written.
    BundleError, CheckFailedError
        As `footprint_of`; or TFLite Micro gives something else than LiteRT.
    """
    graph = portable_graph(network.model)
    footprint = _footprint(graph, network.model, network.beside)
    source = graph.tensors[graph.inputs[0]]
    sinks = [graph.tensors[index] for index in graph.outputs]
    steps = _steps(network, sinks, footprint.arena) if footprint.arena.measured_by else None
    sha256 = hashlib.sha256(network.model).hexdigest()
    files: dict[str, bytes] = {"model.tflite": network.model}
    texts = {
        "edgeleuk_model.h": sources.array_header(network.model, sha256),
        "edgeleuk_model.c": sources.array_source(network.model),
        "edgeleuk_constants.h": sources.constants_header(
            network, source, sinks, footprint.arena, len(footprint.methods)
        ),
        "edgeleuk_constants.c": sources.constants_source(network, sinks),
        "edgeleuk_tables.h": sources.tables_header(network.beside.tables),
        "edgeleuk_tables.c": sources.tables_source(network.beside.tables),
        **{name: as_it_is(name) for name in AS_THEY_ARE},
        "edgeleuk_golden.h": sources.golden_header(network, sinks),
        "edgeleuk_golden.c": sources.golden_source(network, sinks),
        "edgeleuk_operators.h": sources.operators_header(footprint.methods),
        "CMakeLists.txt": sources.CMAKE,
    }
    files |= {name: text.encode() for name, text in texts.items()}
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    # As `sha256sum --check` reads it.
    files[HASHES] = "".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode()
    _write(folder, files)
    golden = sum(sources.golden_bytes(cell) for cell in network.golden)
    return Exported(footprint, len(network.golden), golden, steps, hashes)


def as_it_is(name: str) -> str:
    """Return a file of an export that is the same for every bundle."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def refuse_file(folder: Path) -> None:
    """Refuse to export into what is no folder, before anything is computed.

    Raises
    ------
    UsageError
        It is a file, or lies in one, or cannot be looked at.
    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except OSError as error:
        raise UsageError(f"the export cannot be written to {folder}", got=error.strerror) from error
    if not there.is_dir():
        raise UsageError("an export goes into a folder", got=f"the file {there}")


def _steps(network: Deployment, sinks: Sequence[Tensor], arena: Arena) -> int:
    sizes = [sink.size_bytes for sink in sinks]
    inputs = [network.fed(cell.tensor) for cell in network.golden]
    found = tflm.outputs_of(network.model, inputs, arena.with_margin, sizes)
    steps = max(
        tflm.largest_steps(ours, theirs)
        for row, golden in zip(found, network.golden, strict=True)
        for ours, theirs in zip(row, golden.outputs, strict=True)
    )
    if steps > sources.TOLERANCE_STEPS:
        raise CheckFailedError(
            f"{arena.measured_by} gives something else than {network.golden_by}",
            got=f"{steps} steps of int8",
            allowed=sources.TOLERANCE_STEPS,
            cure="report it, with the bundle",
        )
    return steps


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            replace_file(folder / name, data)
    except OSError as error:
        raise UsageError(f"the export cannot be written to {folder}", got=error.strerror) from error

"""A network as a microcontroller gets it: plain values, which the firmware bridge may know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# In C, and as `struct` has it. Numbers of half precision stay as their bits.
TableType = Literal["float", "int8_t", "uint8_t", "uint16_t", "uint32_t"]
TABLE_CODES: dict[TableType, str] = {
    "float": "f",
    "int8_t": "b",
    "uint8_t": "B",
    "uint16_t": "H",
    "uint32_t": "I",
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a word that the firmware needs: its name in capitals, its value, what it is."""

    name: str
    value: float | str
    comment: str


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers that the firmware needs in flash.

    Attributes
    ----------
    name : str
        In C, behind ``edgeleuk_``.
    kind : str
        Their type in C.
    data : bytes
        As this machine keeps them.
    part : str
        What they belong to, for people.
    comment : str
    """

    name: str
    kind: TableType
    data: bytes
    part: str
    comment: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What a firmware needs beside the network to make a call.

    Attributes
    ----------
    tables : tuple of Table
        Flash.
    constants : tuple of Constant
        How they are used.
    cell_bytes : int
        RAM beside TFLite Micro's arena: what is kept of one cell.
    not_carried : tuple of (str, int)
        Parts of the bundle that are not exported, and their bytes in it.
    """

    tables: tuple[Table, ...]
    constants: tuple[Constant, ...]
    cell_bytes: int
    not_carried: tuple[tuple[str, int], ...]

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Names of the parts that are exported, and what they take of flash."""
        sizes: dict[str, int] = {}
        for table in self.tables:
            sizes[table.part] = sizes.get(table.part, 0) + len(table.data)
        return tuple(sizes.items())


@dataclass(frozen=True, slots=True)
class GoldenCell:
    """A cell that the project drew, and what comes of it.

    Attributes
    ----------
    tensor : bytes
        Of the cell, before they become the network's input.
    outputs : tuple of bytes
        Every output of the network.
    numbers : tuple of float
        Drawn numbers in the place of its hand-crafted features; none where none are needed.
    log_odds : float
        Calibrated: those of the probability.
    distance : float
        Of its features from the training cells'; 0 where the bundle has no statistics.
    """

    tensor: bytes
    outputs: tuple[bytes, ...]
    numbers: tuple[float, ...]
    log_odds: float
    distance: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A network as the firmware bridge takes it.

    Attributes
    ----------
    name, bundle_sha256, intended_use, licence : str
        Of the bundle.
    model : bytes
        The TFLite file.
    beside : Beside
        Tables and constants of what is made of the network's answer.
    byte_table : tuple of int
        What each of the 256 bytes of a cell's tensor is at the network's input.
    constants : tuple of Constant
        How a cell becomes that tensor, and how a call is made of the answer.
    output_meanings : tuple of str
        For each output of the network, in the file's order.
    left_to_firmware : tuple of str
        What the export does not do, in order.
    golden : tuple of GoldenCell
    golden_by : str
        Whose outputs those are.
    fast_steps : int
        By how much the fast kernels, which `run` takes, differ from those: in steps of int8, at most.
    fast_log_odds : float
        What that comes to in the calibrated log odds, at most.
    """

    name: str
    bundle_sha256: str
    intended_use: str
    licence: str
    model: bytes
    beside: Beside
    byte_table: tuple[int, ...]
    constants: tuple[Constant, ...]
    output_meanings: tuple[str, ...]
    left_to_firmware: tuple[str, ...]
    golden: tuple[GoldenCell, ...]
    golden_by: str
    fast_steps: int
    fast_log_odds: float

    def fed(self, tensor: bytes) -> bytes:
        """Return what the network's input is for the bytes of a cell's tensor."""
        return tensor.translate(bytes(value & 0xFF for value in self.byte_table))

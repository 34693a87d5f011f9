"""A network as a microcontroller gets it: plain values, which the firmware bridge may know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a word that the firmware needs: its name in capitals, its value, what it is."""

    name: str
    value: float | str
    comment: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """A network as the firmware bridge takes it.

    Attributes
    ----------
    name, bundle_sha256, intended_use, licence : str
        Of the bundle.
    model : bytes
        The TFLite file.
    beside : tuple of (str, int)
        What else a firmware needs in flash to make a call, and its bytes: see
        `edgeleuk.deploy.microcontroller.beside_network`.
    byte_table : tuple of int
        What each of the 256 bytes of a cell's tensor is at the network's input.
    constants : tuple of Constant
        How a cell becomes that tensor, and how a call is made of the answer.
    output_meanings : tuple of str
        For each output of the network, in the file's order.
    left_to_firmware : tuple of str
        Steps between the network's outputs and a call, in order.
    golden_inputs : tuple of bytes
        Input tensors.
    golden_outputs : tuple of tuple of bytes
        For each of them, every output.
    golden_by : str
        Whose outputs those are.
    fast_steps : int
        By how much the fast kernels, which `run` takes, differ from those: in steps of int8, at most.
    fast_log_odds : float
        What that comes to in the network's log odds, at most.
    """

    name: str
    bundle_sha256: str
    intended_use: str
    licence: str
    model: bytes
    beside: tuple[tuple[str, int], ...]
    byte_table: tuple[int, ...]
    constants: tuple[Constant, ...]
    output_meanings: tuple[str, ...]
    left_to_firmware: tuple[str, ...]
    golden_inputs: tuple[bytes, ...]
    golden_outputs: tuple[tuple[bytes, ...], ...]
    golden_by: str
    fast_steps: int
    fast_log_odds: float

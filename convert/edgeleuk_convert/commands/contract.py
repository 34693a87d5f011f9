"""``edgeleuk contract``: find out what a network wants that has no training record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.io.atomic import bears, require_replaceable
from edgeleuk.io.console import progress_bar
from edgeleuk_convert.bundling.contract_search.search import find_contract
from edgeleuk_convert.bundling.contract_search.writing import (
    CONTRACT_MARK,
    contract_toml,
    found_facts,
    found_text,
)
from edgeleuk_convert.commands.options import parse_size
from edgeleuk_convert.commands.read_cells import CNMC, read_cells
from edgeleuk_convert.commands.results import ContractResult
from edgeleuk_convert.environment import quiet_tensorflow, replace_file, require_writable
from edgeleuk_convert.networks.loading import load_network

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.commands.read_cells import DataOptions


def contract(
    model: Path,
    data: Path,
    *,
    out: Path | None = None,
    seed: int | None = None,
    size: str | None = None,
    output: str | None = None,
    options: DataOptions = CNMC,
) -> ContractResult:
    """Try what networks are fed, and write what fits the labels best.

    Parameters
    ----------
    model, data : Path
    out : Path, optional
        A ``contract.toml`` to write.
    seed : int, optional
        Of the choice of cells; 0.
    size, output : str, optional
        As for `ConvertOptions`.
    options : DataOptions
        How the user's own pictures are read.
    """
    if out is not None:
        require_writable(out)
        require_replaceable(out, bears(CONTRACT_MARK))
    pixels = parse_size(size)
    with quiet_tensorflow():
        loaded = load_network(model, size=pixels, output=output)
        cells = read_cells(data, options)
        with progress_bar("trying") as bar:
            found = find_contract(loaded.model, model.name, cells.labelled, seed=seed or 0, progress=bar)
    facts = found_facts(found) | {"model": str(model), "stamp": cells.stamp, "notes": list(loaded.notes)}
    if out is not None:
        replace_file(out, contract_toml(found).encode())
        facts["contract"] = str(out)
    return msgspec.convert(facts, ContractResult)


def contract_text(result: ContractResult) -> str:
    """Say what was found."""
    facts = result.to_json()
    lines = [facts["stamp"]] if facts["stamp"] else []
    lines += [*(f"note      {note}" for note in facts["notes"]), found_text(facts)]
    if facts.get("contract"):
        lines.append(f"contract  {facts['contract']}: pass it to convert as --contract")
    return "\n".join(lines)

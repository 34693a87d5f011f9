"""Convert your own Keras network to a bundle: ``keras_to_bundle.py NET.keras CELLS CONTRACT.toml OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import edgeleuk


def main(model: str, cells: str, contract: str, out: str) -> None:
    """Convert, and print what the comparison with the float network said."""
    facts = edgeleuk.convert(model, cells, out, contract=Path(contract))
    print(facts["bundle"], facts["validation"]["verdict"])


if __name__ == "__main__":
    main(*sys.argv[1:])

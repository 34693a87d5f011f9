"""Print what a bundle says of itself: ``bundle_card.py [BUNDLE]``."""

from __future__ import annotations

import sys

import edgeleuk


def main(bundle: str = "default") -> None:
    """Print name, networks, scale and model card."""
    opened = edgeleuk.open_bundle(bundle)
    print(opened.name, *opened.networks)
    print(f"{opened.contract.px_per_um:g} px/um, int8: {opened.validation['verdict']}")
    print(opened.card)


if __name__ == "__main__":
    main(*sys.argv[1:])

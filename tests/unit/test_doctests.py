"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("edgeleuk", "edgeleuk_convert", "edgeleuk_calibration", "edgeleuk_firmware_bridge")
# Running it is what it is for.
LEFT_OUT = {"edgeleuk.__main__"}


def modules() -> list[str]:
    found = list(PACKAGES)
    for package in PACKAGES:
        inside = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        found += [info.name for info in inside if info.name not in LEFT_OUT]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0

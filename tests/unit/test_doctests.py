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
    return [
        info.name
        for package in PACKAGES
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        if info.name not in LEFT_OUT
    ]


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0

"""The tests that every camera and every stage must pass; a pytest plug-in.

In a test file of one's own::

    from edgeleuk.testing import CameraContract

    class TestMyCamera(CameraContract):
        uri = "genicam://0"

or without one::

    pytest -p edgeleuk.testing --pyargs edgeleuk.testing.test_device --camera-uri genicam://0

It needs pytest: ``pip install 'edgeleuk[testing]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

# Before they are imported, so that a failing assertion shows its values.
pytest.register_assert_rewrite("edgeleuk.testing.camera", "edgeleuk.testing.stage")

from edgeleuk.testing.camera import CameraContract  # noqa: E402
from edgeleuk.testing.stage import StageContract  # noqa: E402

if TYPE_CHECKING:
    from pytest import Parser  # noqa: PT013

__all__ = ["CameraContract", "StageContract"]


def pytest_addoption(parser: Parser) -> None:
    """Add the devices that `edgeleuk.testing.test_device` is run against."""
    group = parser.getgroup("edgeleuk", "devices of edgeleuk")
    group.addoption("--camera-uri", help="The camera that is tested.")
    group.addoption("--stage-url", help="The stage that is tested: it moves by up to --stage-reach-um.")
    group.addoption("--stage-reach-um", type=float, default=20.0, help="How far it may move [default: 20].")

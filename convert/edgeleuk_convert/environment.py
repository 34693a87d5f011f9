"""What a long command needs before it begins: TensorFlow, scikit-learn, a place to write to."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeleuk.errors import MissingDependencyError, UsageError
from edgeleuk_convert.quantization.tflite import silenced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_writable(out: Path) -> None:
    """Find out now, not after an hour of work, that the result could not be written."""
    if not out.parent.is_dir():
        raise UsageError(
            "the output's folder does not exist", got=out.parent, cure=f"make it: mkdir -p {out.parent}"
        )
    if not os.access(out.parent, os.W_OK):
        raise UsageError("the output's folder cannot be written to", got=out.parent)


@contextmanager
def scikit_learn() -> Iterator[None]:
    """Import parts of scikit-learn within this, or say how to install it."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            "scikit-learn is not installed",
            got=str(error),
            cure="install it with: pip install 'edgeleuk[workstation]'",
        ) from error


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Load TensorFlow, or say how to install it; keep its notices off standard output."""
    try:
        with warnings.catch_warnings(), silenced():
            warnings.simplefilter("ignore")
            import keras
            import tensorflow as tf  # noqa: F401

            # Its first computation prints notices too.
            keras.ops.ones(1)
    except ImportError as error:
        raise MissingDependencyError(
            "TensorFlow is not installed",
            got=str(error),
            cure="install it with: pip install 'edgeleuk[workstation]'",
        ) from error
    yield

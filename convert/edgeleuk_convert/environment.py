"""What a long command needs before it begins: TensorFlow, scikit-learn, a place to write to."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError, MissingDependencyError, UsageError, extra_cure
from edgeleuk.io import atomic

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
            cure=f"install it with: {extra_cure('workstation')}",
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
            cure=f"install it with: {extra_cure('workstation')}",
        ) from error
    yield


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what the converters print, from C++ too, off both streams; show it if the body fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        except EdgeleukError:
            failed = False  # it says all there is to say
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, stream in zip(saved, (1, 2), strict=True):
                os.dup2(kept, stream)
                os.close(kept)
            if failed:
                sink.seek(0)
                os.write(2, sink.read()[-4000:])


def replace_file(path: Path, content: bytes) -> None:
    """Write beside, then rename: nobody ever finds half a file."""
    with out_errors_of(path):
        atomic.replace_file(path, content)


def out_errors_of(path: Path) -> AbstractContextManager[None]:
    """Say in a sentence why a file of --out cannot be written, such as on a full disk."""
    return atomic.write_errors_of(path.name, "free some space or give another --out")

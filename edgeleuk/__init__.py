"""edgeleuk: run a quantized leukemic-blast classifier on a microscope's camera.

For research use only. Not for use in diagnostic procedures.

What `__all__` names is public; everything else is private and may move. Each name is loaded when it is first
used, so that ``import edgeleuk`` costs nearly nothing.

Examples
--------
>>> import edgeleuk
>>> for frame in edgeleuk.watch("virtual://?seed=1&frames=1"):
...     print(frame.width, frame.height)
1280 960
"""

from __future__ import annotations

import importlib

from edgeleuk.version import RESEARCH_USE, __version__

# As typing's, which takes longer to load than all the rest here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgeleuk.api.cameras import watch
    from edgeleuk.api.opening import (
        CropClassifier,
        OpenBundle,
        Session,
        open_bundle,
        open_classifier,
        open_session,
    )
    from edgeleuk.api.pictures import classify, segment
    from edgeleuk.api.results import FrameResult, ImageCell, ImageResult, SegmentedCell, SegmentedImage
    from edgeleuk.api.workstation import convert, evaluate
    from edgeleuk.errors import EdgeleukError

__all__ = [
    "RESEARCH_USE",
    "CropClassifier",
    "EdgeleukError",
    "FrameResult",
    "ImageCell",
    "ImageResult",
    "OpenBundle",
    "SegmentedCell",
    "SegmentedImage",
    "Session",
    "__version__",
    "classify",
    "convert",
    "evaluate",
    "open_bundle",
    "open_classifier",
    "open_session",
    "segment",
    "watch",
]

_HOMES = {
    "CropClassifier": "edgeleuk.api.opening",
    "EdgeleukError": "edgeleuk.errors",
    "FrameResult": "edgeleuk.api.results",
    "ImageCell": "edgeleuk.api.results",
    "ImageResult": "edgeleuk.api.results",
    "OpenBundle": "edgeleuk.api.opening",
    "SegmentedCell": "edgeleuk.api.results",
    "SegmentedImage": "edgeleuk.api.results",
    "Session": "edgeleuk.api.opening",
    "classify": "edgeleuk.api.pictures",
    "convert": "edgeleuk.api.workstation",
    "evaluate": "edgeleuk.api.workstation",
    "open_bundle": "edgeleuk.api.opening",
    "open_classifier": "edgeleuk.api.opening",
    "open_session": "edgeleuk.api.opening",
    "segment": "edgeleuk.api.pictures",
    "watch": "edgeleuk.api.cameras",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is loaded, and what would be."""
    return sorted({*globals(), *__all__})

"""What Python users rely on does not change unnoticed.

Where a change is meant: ``python tests/contract/test_public_api.py`` writes ``public_api.txt`` anew; say the
change in CHANGELOG.md.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np

import edgeleuk
import edgeleuk.plugins
import edgeleuk.testing
from edgeleuk.results import Counted

FILE = Path(__file__).with_name("public_api.txt")


def members(kind: type) -> list[str]:
    lines = []
    for name, value in sorted(inspect.getmembers(kind)):
        hidden = name.startswith("_") and name not in ("__call__", "_repr_html_")
        if hidden or (issubclass(kind, BaseException) and name in dir(BaseException)):
            continue
        if inspect.isroutine(value):
            lines.append(f"  {name}{inspect.signature(value)}")
        else:
            lines.append(f"  {name}")
    return lines


def rendered() -> str:
    lines = []
    for name in sorted(edgeleuk.__all__):
        value = getattr(edgeleuk, name)
        if isinstance(value, str):
            lines.append(f"{name}: str")
        elif isinstance(value, type):
            lines += [f"class {name}", *members(value)]
        else:
            lines.append(f"{name}{inspect.signature(value)}")
    picture = edgeleuk.classify(np.full((480, 640, 3), 180, np.uint8), runtime="litert")
    lines.append("ImageResult.to_json: " + " ".join(picture.to_json()))
    lines.append("counts.to_json: " + " ".join(Counted().to_json()))
    frame = next(edgeleuk.watch("virtual://?seed=1&frames=1", runtime="litert"))
    lines.append("FrameResult.to_json: " + " ".join(frame.to_json()))
    lines.append("FrameResult.to_json cells: " + " ".join(frame.to_json()["cells"][0]))
    for name in sorted(edgeleuk.plugins.__all__):
        value = getattr(edgeleuk.plugins, name)
        lines.append(f"edgeleuk.plugins.{name}{'' if isinstance(value, type) else inspect.signature(value)}")
    lines += ["class edgeleuk.plugins.StageDevice", *members(edgeleuk.plugins.StageDevice)]
    lines += [f"edgeleuk.testing.{name}" for name in edgeleuk.testing.__all__]
    return "\n".join(lines) + "\n"


def test_the_public_names_signatures_and_keys_are_the_recorded_ones() -> None:
    assert rendered() == FILE.read_text()


if __name__ == "__main__":
    FILE.write_text(rendered())

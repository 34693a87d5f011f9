"""Results for notebooks: a plot, a table of pandas, HTML with escaped text."""

from __future__ import annotations

import base64
import html
import importlib
from typing import TYPE_CHECKING, Any

import cv2

from edgeleuk.errors import MissingDependencyError
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeleuk.frames import RgbImage

# Wide enough to read the words beside the cells.
_THUMBNAIL_PX = 640


def library(name: str, purpose: str) -> Any:
    """Import an optional library.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".", maxsplit=1)[0]
        raise MissingDependencyError(
            f"{purpose} needs {package}, which is not installed", cure=f"pip install {package}"
        ) from error


def drawn(picture: RgbImage, axes: Any = None) -> Any:
    """Show a picture on matplotlib's axes, new ones if none are given, and return them."""
    if axes is None:
        axes = library("matplotlib.pyplot", "plot()").subplots()[1]
    axes.imshow(picture)
    axes.set_axis_off()
    return axes


def as_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """Return a pandas DataFrame with one row for each mapping; one without rows has the columns, too."""
    return library("pandas", "to_pandas()").DataFrame(list(rows), columns=list(columns))


def page_part(title: str, counts: Mapping[str, Any], picture: RgbImage) -> str:
    """Return HTML with a picture and a table of counts; every text is escaped."""
    height, width = picture.shape[:2]
    zoom = min(1.0, _THUMBNAIL_PX / width)
    small = cv2.resize(picture, (round(width * zoom), round(height * zoom)), interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    assert encoded
    lines = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in counts.items()
    )
    source = base64.b64encode(data.tobytes()).decode()
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<img alt="annotated picture" src="data:image/png;base64,{source}"></figure>'
        f"<table>{lines}</table><p>{html.escape(RESEARCH_USE)}</p>"
    )

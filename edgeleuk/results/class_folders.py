"""How people lay out labelled pictures: folders by class, folders by slide or subject, masks beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeleuk.results.class_names import plain

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from pathlib import Path

# Folders that hold parts of a set, not a subject's or a slide's pictures.
_CONTAINER = re.compile(
    r"(training|train|validation|valid|val|testing|test|fold|split|part|set|batch|data|dataset|images?|imgs?|"
    r"pictures?|photos?|cells?|crops?|original|segmented|augmented|raw|processed|all images|phase)"
    r"( ?(set|data|images?|imgs?|pictures?|cells?))? ?\d*$"
)
_MASK = re.compile(r"[-_ ]mask$", re.IGNORECASE)


def folders_above(path: Path, folder: Path) -> tuple[str, ...]:
    """Return the folders above a picture; the data folder itself where there are none."""
    return path.relative_to(folder).parts[:-1] or (folder.name,)


def place_of(path: Path, folder: Path) -> str:
    """Name the folder of a picture, from the data folder on."""
    return path.parent.relative_to(folder).as_posix() if path.parent != folder else folder.name


def without_masks(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Leave out ``NAME_mask.png`` where there is a picture NAME beside it; return how many were left out."""
    stems = {(path.parent, path.stem) for path in paths}
    pictures = [
        path
        for path in paths
        if (path.parent, _MASK.sub("", path.stem)) not in stems or _MASK.search(path.stem) is None
    ]
    return pictures, len(paths) - len(pictures)


def folder_beside_class(
    folders: Sequence[str], class_part: int | None, known: Container[str], *, below: bool
) -> str | None:
    """Return the folder next to the class's, inside it or around it, that is no part of a data set.

    Parameters
    ----------
    folders : sequence of str
        Above a picture, the outermost first.
    class_part : int or None
        Which of them tells the class.
    known : container of str
        Names of classes, as `plain` writes them.
    below : bool
        Look inside the class's folder, not around it.
    """
    if class_part is None:
        near: Sequence[str] = () if below else folders[::-1]
    else:
        near = folders[class_part + 1 :] if below else folders[:class_part][::-1]
    candidates = [name for name in near if not _CONTAINER.match(plain(name)) and plain(name) not in known]
    return candidates[0] if candidates else None

"""The first runs with a new bundle: one that goes well confirms it, some that break down lead back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.reading import bundle_path
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.self_test import replay, require_unmoved
from edgeleuk.errors import BundleError, CheckFailedError, EdgeleukError, SignatureError, UsageError
from edgeleuk.io.console import printable, say, warn
from edgeleuk.updates.place import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult
    from edgeleuk.updates.place import InstalledVersion, Note, Place, State

# So many starts in a row may break down before the bundle is left.
MOST_STARTS = 3
# A run that comes so far is a good one, whatever ends it later.
GOOD_FIELDS = 20


class FirstStart:
    """A run with a bundle that is not confirmed yet; of any other it does nothing.

    Parameters
    ----------
    place : Place, optional
        Where it is installed; None of a bundle that needs no confirmation.
    version : InstalledVersion, optional
    """

    def __init__(self, place: Place | None = None, version: InstalledVersion | None = None) -> None:
        self._place = place
        self._version = version
        self._fields = 0

    def seen(self, _: FrameResult, __: RgbImage) -> None:
        """Count a field that was judged."""
        self._fields += 1
        if self._fields == GOOD_FIELDS and self._place is not None:
            self._note("good")

    def ended(self, error: EdgeleukError | None) -> None:
        """Say that the run has ended by itself: well, or with a sentence, which is not the bundle's fault."""
        if self._place is not None:
            self._note("good" if error is None and self._fields else "pending")

    def _note(self, state: State) -> None:
        place, version = self._place, self._version
        assert place is not None
        assert version is not None
        try:
            with place.alone():
                note = place.note()
                now = note.of(version.sha256)
                if now is not None and now.state == "pending":
                    place.keep(note.with_version(msgspec.structs.replace(version, state=state, starts=0)))
        except (UsageError, BundleError) as error:
            warn(f"how the first run with the new bundle went cannot be noted: {error}")
        else:
            if state == "good":
                self._place = None
                say(f"  the new bundle {version.bundle} is confirmed: its first run goes well")


@contextmanager
def first_start(named: str) -> Iterator[FirstStart]:
    """Test a bundle that is not confirmed yet before a run, count the start, and go back where it is due.

    A start that ends by an error with a sentence, or because somebody stops it, is not counted: a camera that
    is not there tells nothing of the bundle. What ends without a word stays counted.

    Parameters
    ----------
    named : str
        The bundle as the run names it.

    Yields
    ------
    FirstStart
        To be told of every field, and of the end.
    """
    start = _begun(bundle_path(named))
    try:
        yield start
    except (EdgeleukError, KeyboardInterrupt) as error:
        start.ended(error if isinstance(error, EdgeleukError) else UsageError("interrupted"))
        raise


def _begun(file: Path) -> FirstStart:
    place = place_of(file)
    if place is None:
        return FirstStart()
    with place.alone():
        while True:
            note = place.note()
            version = note.of(place.current)
            if version is None or version.state == "good":
                return FirstStart()
            trouble = _trouble(file, version)
            if trouble is None:
                return _counted(place, note, version)
            if not _gone_back(place, version, trouble):
                return FirstStart()


def _counted(place: Place, note: Note, version: InstalledVersion) -> FirstStart:
    begun = msgspec.structs.replace(version, starts=version.starts + 1)
    try:
        place.keep(note.with_version(begun))
    except UsageError as error:
        # On a card that has turned read-only, a run is better than none.
        warn(f"the first run with the new bundle cannot be noted: {error}")
        return FirstStart()
    return FirstStart(place, begun)


def require_self_test(bundle: Bundle) -> None:
    """Refuse a bundle that its own validation rejected, or that fails its self-test on this machine.

    Raises
    ------
    CheckFailedError
        See above.
    BundleError
        A network, or the golden cells, cannot be read.
    """
    refuse_rejected(bundle)
    require_unmoved(bundle, replay(bundle))


def _trouble(file: Path, version: InstalledVersion) -> str | None:
    """Say why a bundle that is not confirmed should not be used; None where nothing speaks against it."""
    if version.state == "returned":
        return "it was left before"
    if version.starts >= MOST_STARTS:
        return f"{version.starts} runs with it broke down before their {GOOD_FIELDS}th field"
    try:
        require_self_test(read_trusted_bundle(file))
    except (CheckFailedError, BundleError, SignatureError) as error:
        return str(error)
    return None


def _gone_back(place: Place, version: InstalledVersion, trouble: str) -> bool:
    """Use the bundle before again, and say so; whether there is one."""
    back = place.go_back()
    if back is None:
        warn(f"{place.file} is not to be trusted, and there is no bundle to go back to: {printable(trouble)}")
        return False
    warn(
        f"{place.file} went back from {printable(version.bundle)} ({version.sha256[:16]}) to"
        f" {printable(back.bundle)} ({back.sha256[:16]}): {printable(trouble)}"
    )
    return True

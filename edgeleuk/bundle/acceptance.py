"""What the gate said of a bundle when it was made, and that the device refuses one that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.validation import Verdict, read_validation
from edgeleuk.errors import GateFailedError

if TYPE_CHECKING:
    from edgeleuk.bundle.reading import Bundle


class Acceptance(msgspec.Struct, frozen=True):
    """The part of ``validation.json`` that the device looks at.

    Attributes
    ----------
    verdict : str
        ``pass``, ``fail``, or ``undecided`` where too few cells were held out.
    reasons : tuple of str
        Which limits were not kept; none in a bundle of an earlier version.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def acceptance(bundle: Bundle) -> Acceptance:
    """Read what the gate said of a bundle.

    Raises
    ------
    BundleError
        Nothing that is a verdict.
    """
    said = read_validation(bundle)
    return Acceptance(said.verdict, said.reasons)


def refuse_rejected(bundle: Bundle) -> None:
    """Refuse to run a bundle that failed its gate, whatever its file is called.

    Raises
    ------
    GateFailedError
        With the gate's reasons.
    """
    said = acceptance(bundle)
    if said.verdict == "fail":
        raise GateFailedError(
            f"{bundle.path.name} was rejected when it was made: int8 loses too much",
            got="; ".join(said.reasons) or "no reasons given",
            cure="look at it with `edgeleuk validate`, and convert the network again",
        )

"""What the gate said of a bundle when it was made, and that the device refuses one that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.bundle.validation import read_validation
from edgeleuk.errors import CheckFailedError

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle


def refuse_rejected(bundle: Bundle) -> None:
    """Refuse to run a bundle that failed its gate, whatever its file is called.

    Raises
    ------
    CheckFailedError
        With the gate's reasons.
    """
    said = read_validation(bundle)
    if said.verdict == "fail":
        raise CheckFailedError(
            f"{bundle.path.name} was rejected when it was made: int8 loses too much",
            got="; ".join(said.reasons) or "no reasons given",
            cure="look at it with `edgeleuk validate`, and convert the network again",
        )

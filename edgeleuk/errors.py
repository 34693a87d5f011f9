"""Every error that edgeleuk raises on purpose, each branch with its exit code.

::

    EdgeleukError                       1   (a bug, if nothing below fits)
    ├── UsageError                      2   a bad flag, or a bad value in a file
    ├── CheckFailedError                3   accuracy drop, self-test, benchmark limit
    ├── DataRefusedError                4   leakage, too few, unreadable
    ├── MissingDependencyError          5   names the extra that installs it
    ├── HardwareError                   6
    │   ├── CameraError                 6   cannot be opened, died
    │   └── BrokerError                 6   cannot be reached, is not trusted, refuses
    ├── IntegrityError                  7
    │   ├── BundleError                 7   truncated, wrong hash, newer schema
    │   ├── SignatureError              7   unsigned, of another key, older than what is there
    │   ├── SessionError                7   damaged, foreign or full session file
    │   └── LabelsError                 7   damaged or foreign file of labels
    └── InterruptedBeforeRecordError  130   stopped before anything was recorded
"""

from __future__ import annotations


def extra_cure(extra: str) -> str:
    """Return the command that installs one of the package's extras.

    Examples
    --------
    >>> extra_cure("stage")
    "pip install 'edgeleuk[stage]'"
    """
    return f"pip install 'edgeleuk[{extra}]'"


class EdgeleukError(Exception):
    """Base of all deliberate errors: one sentence with what, got, allowed and cure.

    Parameters
    ----------
    what : str
        What went wrong, without a final full stop.
    got, allowed : object, optional
        The value at hand and what would have been accepted.
    cure : str, optional
        What the user can do about it.

    Examples
    --------
    >>> str(UsageError("threads is out of range", got=0, allowed="1 to 64", cure="pass --threads 2"))
    'threads is out of range: got 0, allowed 1 to 64; pass --threads 2'
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: object = None,
        cure: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.allowed = allowed
        self.cure = cure
        facts = [
            f"{name} {value}" for name, value in (("got", got), ("allowed", allowed)) if value is not None
        ]
        sentence = what + (": " + ", ".join(facts) if facts else "")
        super().__init__(sentence + (f"; {cure}" if cure else ""))


class UsageError(EdgeleukError):
    """A bad flag, or a bad value in a configuration file."""

    exit_code = 2


class CheckFailedError(EdgeleukError):
    """A promise was measured and not kept: accuracy drop, self-test, benchmark limit."""

    exit_code = 3


class DataRefusedError(EdgeleukError):
    """Images that cannot carry the conclusion asked of them."""

    exit_code = 4


class MissingDependencyError(EdgeleukError):
    """A package or an execution provider is not installed."""

    exit_code = 5


class HardwareError(EdgeleukError):
    """A camera, a stage or a lamp did not do as told."""

    exit_code = 6


class CameraError(HardwareError):
    """A camera cannot be opened, or died."""


class BrokerError(HardwareError):
    """A broker of messages cannot be reached, is not trusted, or refuses."""


class IntegrityError(EdgeleukError):
    """Bytes are not what they were when they were written."""

    exit_code = 7


class BundleError(IntegrityError):
    """A bundle is truncated, altered, or of a schema this version does not know."""


class SignatureError(IntegrityError):
    """A bundle that no pinned key signed, or one older than what is there; a damaged key or signature."""


class SessionError(IntegrityError):
    """A session file is damaged, foreign, or can take no more records."""


class LabelsError(IntegrityError):
    """A file of labels is damaged, foreign, or of a schema this version does not know."""


class InterruptedBeforeRecordError(EdgeleukError):
    """The user stopped the program before anything was recorded."""

    exit_code = 130

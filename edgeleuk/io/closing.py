"""Everything that opens also closes: what makes ``with`` work for whatever has a `close`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

ClosingT = TypeVar("ClosingT", bound="Closing")


class Closing(Protocol):
    """What is closed at the end of a ``with`` block, however that ends: as a base class, or as a protocol."""

    def close(self) -> None:
        """Free what was opened; more than once does no harm."""
        raise NotImplementedError

    def _close_after(self, error: BaseException | None) -> None:
        """Close at the end of a ``with`` block, knowing the error that ended it."""
        del error
        self.close()

    def __enter__(self: ClosingT) -> ClosingT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_after(error)

"""Everything that opens also closes: what makes ``with`` work for whatever has a `close`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

ClosingT = TypeVar("ClosingT", bound="Closing")


class Closing:
    """Base of what is closed at the end of a ``with`` block, however that ends."""

    def close(self) -> None:
        """Free what was opened; more than once does no harm."""
        raise NotImplementedError

    def __enter__(self: ClosingT) -> ClosingT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

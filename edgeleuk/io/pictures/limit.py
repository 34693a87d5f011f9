"""How large a picture may be: one limit for the process, as cameras decode far from any settings."""

from __future__ import annotations

# A phone's 50 megapixels pass; decoded, a picture at the limit takes 300 MB.
MOST_MEGAPIXELS = 100.0
# Of a sample of 16 bits and four channels, uncompressed; and what may stand beside the pixels.
_BYTES_PER_PIXEL, _BESIDE = 8, 64_000_000

_most_megapixels = MOST_MEGAPIXELS


def allow_megapixels(megapixels: float) -> None:
    """Set the limit; see `RunSettings.most_megapixels`."""
    global _most_megapixels  # noqa: PLW0603 - see the module
    _most_megapixels = megapixels


def most_megapixels() -> float:
    """Return the limit."""
    return _most_megapixels


def most_bytes() -> int:
    """Return how long a picture's file may be: no picture within the limit takes more."""
    return int(_BYTES_PER_PIXEL * _most_megapixels * 1e6) + _BESIDE

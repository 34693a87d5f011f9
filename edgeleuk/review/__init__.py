"""Reviewing the cells of a session: which to look at, what people said, and what the counts are then."""

from edgeleuk.review.desk import ReviewDesk

__all__ = ["ReviewDesk"]

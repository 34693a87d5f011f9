"""Examines this machine for edgeleuk: what is missing, what is broken, and what helps."""

from __future__ import annotations

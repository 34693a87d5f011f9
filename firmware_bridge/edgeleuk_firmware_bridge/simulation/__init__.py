"""Boards that are not there: a Sangaboard and a GRBL board on TCP, on a pty, or within the process."""

from __future__ import annotations

"""The calibration set: which images teach a quantizer its ranges."""

from __future__ import annotations

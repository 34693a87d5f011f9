"""The workstation wing: labelled cell images become a trained network, and that becomes a bundle.

The only package of the house that may import TensorFlow.
"""

from __future__ import annotations

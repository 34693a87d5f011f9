"""The workstation: labelled cell images become a trained network, and that becomes a bundle.

The only package that may import TensorFlow.
"""

from __future__ import annotations

"""Draw what was found in a picture: ``annotated_picture.py FIELD.jpg OUT.png``."""

from __future__ import annotations

import sys

import cv2

import edgeleuk


def main(picture: str, out: str) -> None:
    """Classify a picture, and write it with outlines, words and a legend."""
    result = edgeleuk.classify(picture)
    cv2.imwrite(out, cv2.cvtColor(result.annotated(), cv2.COLOR_RGB2BGR))
    print(result.counts.text())


if __name__ == "__main__":
    main(*sys.argv[1:])

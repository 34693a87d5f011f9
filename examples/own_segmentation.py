"""Cut cells out by your own rule, then classify them: ``own_segmentation.py PICTURE PX_PER_UM``."""

from __future__ import annotations

import sys

import cv2
import numpy as np

import edgeleuk


def main(picture: str, px_per_um: str) -> None:
    """Take what is purple by Otsu's threshold, and judge each large piece."""
    rgb = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    saturation = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[:, :, 1], (0, 0), 3)
    _, purple = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    number, pieces, boxes, _ = cv2.connectedComponentsWithStats(purple)
    smallest_px = 30 * float(px_per_um) ** 2
    crops = []
    for piece in range(1, number):
        x, y, w, h, area = boxes[piece]
        if area >= smallest_px:
            inside = pieces[y : y + h, x : x + w] == piece
            crops.append(np.where(inside[:, :, None], rgb[y : y + h, x : x + w], np.uint8(0)))
    with edgeleuk.open_classifier() as classifier:
        for prediction in classifier(crops, px_per_um=float(px_per_um)):
            print(prediction.decision.value, round(prediction.probability, 3), prediction.reason or "")
    print(f"{len(crops)} pieces")


if __name__ == "__main__":
    main(*sys.argv[1:])

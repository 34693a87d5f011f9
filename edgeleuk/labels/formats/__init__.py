"""Cells and labels in the formats of other programs: COCO, YOLO, QuPath's GeoJSON, Label Studio."""

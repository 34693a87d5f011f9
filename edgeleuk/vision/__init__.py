"""Pure functions over arrays: scale, segmentation, crops, and the tracker that counts each cell once."""

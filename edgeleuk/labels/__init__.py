"""What people call cells: ``.labels`` files, which carry the pixels, who said it, and when."""

from edgeleuk.labels.label_set import LabelledCell, LabelSet, read_labels

__all__ = ["LabelSet", "LabelledCell", "read_labels"]

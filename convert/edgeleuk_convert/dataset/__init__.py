"""Folders of labelled pictures: where they lie, what they show, whose they are."""

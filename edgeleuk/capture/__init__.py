"""Images out of files and cameras."""

"""Pictures as bytes: what a file is, how large, and its pixels, or a sentence that says why not."""

"""Networks built elsewhere: what a file is, how it is read, how it becomes a flat network of Keras 3."""

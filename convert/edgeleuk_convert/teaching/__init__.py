"""A bundle gets new heads for a laboratory: fitted, chosen, and put into a bundle, without TensorFlow."""

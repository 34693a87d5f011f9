"""Bundles that arrive from elsewhere: how they are fetched, how one follows another, and the way back."""

"""Figures of classification, alone and in pairs, and their limits."""

"""``python -m edgeleuk``."""

from __future__ import annotations

from edgeleuk.cli import main

if __name__ == "__main__":
    main()

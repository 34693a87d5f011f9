"""``python -m edgeleuk``."""

from __future__ import annotations

from edgeleuk.cli.app import main

if __name__ == "__main__":
    main()

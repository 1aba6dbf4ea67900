"""The `setun` command, also `python -m setun`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Entry point; Ctrl-C while it is being read is one line, as it is later on."""
    try:
        from setun.cli import main as run
    except KeyboardInterrupt:
        print("setun: error: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

"""`python -m setun`: the same program as the `setun` command."""

from setun.cli import main

if __name__ == "__main__":
    main()

"""`python -m emofuse` is `emofuse`."""

from emofuse.interfaces.cli import main

if __name__ == "__main__":
    main()

"""Runs the command line for `python -m medr1` and `torchrun -m medr1`."""

from medr1.cli import main

if __name__ == "__main__":
    main()

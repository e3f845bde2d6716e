"""`python -m iclkit`, as torchrun starts it."""

from iclkit.cli import main

if __name__ == "__main__":  # spawned workers import this module again
    main()

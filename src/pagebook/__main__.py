"""The command line's start, also as ``python -m pagebook``: Ctrl-C is one sentence from the first import on."""

import sys


def main() -> None:
    """Load the command line, and run it."""
    try:
        from pagebook.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("pagebook: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

"""``python -m pagebook`` is the command line."""

from pagebook.cli import main

if __name__ == "__main__":
    main()

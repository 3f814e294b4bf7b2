"""``python -m segan.cli`` is ``segan``."""

from segan.cli.main import main

if __name__ == "__main__":
    main()

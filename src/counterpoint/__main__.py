"""``python -m counterpoint``."""

from counterpoint.cli.main import main

if __name__ == "__main__":
    main()

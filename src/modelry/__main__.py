"""`python -m modelry` is the `modelry` command."""

from modelry.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m kfine`: the command line."""

from kfine.cli import main

if __name__ == "__main__":
    main()

"""`python -m riskshare`: the command line."""

from riskshare.cli import main

if __name__ == "__main__":
    main()

"""`python -m terrascope` is the `terrascope` command."""

from terrascope.cli import main

main()

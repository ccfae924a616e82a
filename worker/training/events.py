"""What a process of ours that trains says to the one that started it: JSON lines on its standard output."""

import json
import sys


def say(**event: object) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()

"""`chaos`: a system of its own, under load, broken on purpose, and judged by the oracle."""

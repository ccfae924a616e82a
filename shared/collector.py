"""Python's collector of cyclic garbage, in processes that stay."""

import gc


def leave_out_of_collections() -> None:
    """What was made until now stays for good: looking through all of it again and again delays answers by 0.1 s."""
    gc.collect()
    gc.freeze()

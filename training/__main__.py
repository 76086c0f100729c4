"""Train the starter model, one stage after the other.

    python -m training data --tarballs DIR        pictures and labels (npm packages, fetched if absent)
    python -m training decoder --minutes 30       latents to pictures (fits the latent space first)
    python -m training encoder --minutes 10       pictures to latents
    python -m training towers --minutes 10        tokenizer, text tower (and its teacher, a vision tower)
    python -m training denoiser --minutes 60      the part that draws; caches latents and captions first
    python -m training export --out DIR           the diffusers folder
    python -m training sheet --model DIR --out F  the contact sheet

The decoder, the encoder and the towers do not wait for each other; the denoiser needs only the towers.
Every stage keeps its files in `--work`, saves as it goes, and goes on from there with `--resume`. The
learning rate falls with the spent share of `--minutes`, so a stage ends, ready, when its time is up.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Spinning OpenMP threads starve a small machine; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

STAGES = ("data", "decoder", "encoder", "towers", "denoiser", "export", "sheet")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="arrays and checkpoints")
    parser.add_argument("--tarballs", type=Path, help="folder with the npm packages (default: WORK/npm)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="time budget of a training stage, resumed parts included"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", type=Path, default=Path("models/starter"), help="exported folder to draw from")
    parser.add_argument("--sampler", default="Euler a", help="sampler of the contact sheet, or 'all' to compare them")
    parser.add_argument(
        "--out", type=Path, help="where to write (default: models/starter, docs/starter/contact-sheet.png)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs one stage."""
    options = parse(arguments)
    import torch

    torch.set_num_threads(options.threads)
    timing = {"minutes": options.minutes, "seed": options.seed, "resume": options.resume}
    if options.stage == "data":
        from training import data

        data.prepare(options.work, options.tarballs or options.work / "npm", processes=options.threads)
    elif options.stage in ("decoder", "encoder"):
        from training import autoencoder

        autoencoder.train(options.work, options.stage, **timing)
    elif options.stage == "towers":
        from training import towers

        towers.train(options.work, **timing)
    elif options.stage == "denoiser":
        from training import denoiser

        denoiser.train(options.work, **timing)
    elif options.stage == "export":
        from training import export

        export.write(options.work, options.out or Path("models/starter"))
    else:
        from training import sheet

        target = options.out or Path("docs/starter/contact-sheet.png")
        if options.sampler == "all":
            sheet.compare(options.model, target)
        else:
            sheet.make(options.model, target, sampler=options.sampler)


if __name__ == "__main__":
    main()

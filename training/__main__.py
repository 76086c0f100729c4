"""Train the starter model, one stage after the other; training/README.md tells what each needs and leaves.

    python -m training data                       pictures and labels (npm packages, fetched if absent)
    python -m training autoencoder --minutes 40   pictures to latents and back (--part decoder or encoder: one of them)
    python -m training towers --minutes 15        tokenizer and text tower
    python -m training denoiser --minutes 120     the part that draws; caches latents and captions first
    python -m training export --out DIR           the diffusers folder
    python -m training distil | control | styles | vision | upscaler | judge --minutes M
    python -m training sheet --model DIR --out F  the contact sheet
    python -m training all --hours 8              everything in this order

Every stage keeps its files in `--work`, saves as it goes, ends well on Ctrl-C or SIGTERM, and goes on from there with
`--resume`. The learning rate falls with the spent share of `--minutes`, so a stage ends, ready, when its time is up.
Its loss is in WORK/plots/STAGE.png and .csv. Exit status: 0 done, 2 for input that cannot be used, 1 for the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Spinning OpenMP threads starve a small machine; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from backend.errors import BadRequest, SignetError
from training import progress, stages
from training.errors import NotHere, TrainingError, cannot_write
from training.stages import Stage

WORK = Path("training/work")
MODEL = Path("models/starter")
SHEET = Path("docs/starter/contact-sheet.png")


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, checked."""

    stage: str
    work: Path
    geometry: str
    device: str
    minutes: float
    hours: float
    seed: int
    resume: bool
    restart: bool
    threads: int
    part: str
    sampler: str
    tarballs: Path
    model: Path
    out: Path | None


def parse(arguments: Sequence[str] | None = None) -> Order:
    """The command line; SystemExit with status 2 where it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=(*stages.NAMES, *stages.PARTS, "all"))
    parser.add_argument(
        "--geometry", default="small", choices=("small", "full"), help="128 px for a CPU, 256 for a GPU"
    )
    parser.add_argument("--work", type=Path, help="arrays and checkpoints (training/work; full: training/work/full)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of a training stage, resumed parts included")
    parser.add_argument("--hours", type=float, default=8.0, help='of all training stages together, for "all"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--restart", action="store_true", help="begin anew and write over the checkpoint there is")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--part", default="both", choices=("both", *stages.PARTS), help="of the autoencoder (small)")
    parser.add_argument("--tarballs", type=Path, help="folder with the npm packages (default: WORK/npm)")
    parser.add_argument("--model", type=Path, default=MODEL, help="exported folder that later stages build on")
    parser.add_argument("--sampler", default="Euler a", help="of the contact sheet, or 'all' to compare them")
    parser.add_argument("--out", type=Path, help=f"where to write (export: {MODEL}, sheet: {SHEET})")
    given = vars(parser.parse_args(arguments))
    for name in ("minutes", "hours", "threads"):
        if not 0 < given[name] < 10**6:
            parser.error(f"--{name} must be more than nothing, not {given[name]}")
    if given["resume"] and given["restart"]:
        parser.error("--resume and --restart exclude each other")
    if given["stage"] in stages.PARTS:
        given |= {"stage": "autoencoder", "part": given["stage"]}
    given["work"] = given["work"] or (WORK if given["geometry"] == "small" else WORK / given["geometry"])
    given["tarballs"] = given["tarballs"] or given["work"] / "npm"
    return Order(**given)


def known(order: Order, stage: Stage) -> dict[str, Any]:
    """Every option by the name of the parameter that a stage may have for it."""
    import torch

    from training import geometry, running

    shape, device = geometry.named(order.geometry), running.pick(order.device)
    torch.set_num_threads(1 if stage.shards and device.type == "cpu" else order.threads)
    target = {"export": order.out or MODEL, "sheet": order.out or SHEET}.get(stage.name)
    return {
        "work": order.work, "minutes": order.minutes, "seed": order.seed, "resume": order.resume,
        "shape": shape, "size": shape.size, "device": device, "part": order.part,
        "shards": order.threads, "processes": order.threads, "tarballs": order.tarballs,
        "model": order.model, "folder": order.model, "sampler": order.sampler, "target": target, "out": order.out,
    }  # fmt: skip


def run(order: Order) -> None:
    """Runs one stage; TrainingError if it cannot, or if it was stopped before its end."""
    stage = stages.find(order.stage)
    if stage.name == "sheet" and order.sampler == "all":
        stage = replace(stage, function="compare")
    function = stages.function_of(stage)
    options = known(order, stage)
    stages.check_work(order.work, order.geometry, options["size"])
    if not (order.resume or order.restart):
        stages.check_fresh(stage, order.work, part=order.part)
    device = order.device if order.device == "cuda" else "auto"
    given = stages.arguments_for(stage, function, options, geometry=order.geometry, device=device)
    if stage.name == "sheet":  # its seed is the sheet's own, so that two versions can be laid side by side
        given.pop("seed", None)
    with progress.watching(order.work, stage.name, geometry=order.geometry, resume=order.resume) as watch:
        function(**given)
        if watch.stopped:
            raise TrainingError(f"{stage.name}: stopped before its end; all is saved. Go on with --resume.")


def run_all(order: Order) -> None:
    """Every stage in order, the hours shared out. What this checkout lacks, or what does not know the geometry yet, is
    named and left out; what cannot use the GPU runs without it."""
    from training import running

    running.pick(order.device)  # a GPU that is not there is said to be so at once
    order = replace(order, device="cpu" if order.device == "cpu" else "auto")
    for stage in stages.STAGES:
        print(f"all: {stage.name}: {stage.about}", flush=True)
        out = {"export": order.model, "sheet": order.out}.get(stage.name)
        try:
            run(replace(order, stage=stage.name, minutes=max(1e-3, 60 * order.hours * stage.share), out=out))
        except NotHere as error:
            print(f"all: left out: {error}", file=sys.stderr, flush=True)


def _line(error: BaseException) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; every failure is one line on stderr. Gives the exit status."""
    order = parse(arguments)
    try:
        (run_all if order.stage == "all" else run)(order)
    except TrainingError as error:
        print(f"error: {_line(error)}", file=sys.stderr)
        return error.status
    except SignetError as error:
        print(f"error: {_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, BadRequest) else 1
    except SystemExit as error:  # some stages say so what they lack
        print(f"error: {_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: ended at once; the last checkpoint is whole. Go on with --resume.", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"error: {_line(error)}. An earlier stage makes it: see training/README.md.", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {_line(cannot_write(Path(error.filename or order.work), error))}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001  (the last resort of a command line: in words, and where it was)
        return _unexpected(error, order)
    return 0


def _unexpected(error: Exception, order: Order) -> int:
    """What none of the stages foresaw. Memory has its own words; the rest says where it happened."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        print(f"error: {order.stage}: out of memory. Close what else runs there, then --resume.", file=sys.stderr)
        return 1
    frame, place = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        place = f"{code.co_filename}:{frame.tb_lineno}" if "training" in Path(code.co_filename).parts else place
        frame = frame.tb_next
    print(f"error: {order.stage}: {type(error).__name__}: {_line(error)[:300]} ({place})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Judge a starter model: draw fixed prompts with fixed seeds, print the table, write the contact sheets.

    python3 launch.py judge                          about 400 pictures of the model that ships
    python3 launch.py judge --full --out FOLDER      all of them, about 1,540; table and contact sheets to FOLDER
    python3 launch.py judge --quick --model FOLDER   100 pictures of another, to watch a training run
    python3 launch.py judge --lora FILE --sampler LCM --steps 4 --guidance 1.5

`python -m training.judging` is the same.

Needs neither the real art nor the network: what the judge knows of the art lies in `models/judge`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from backend.settings import ROOT

# Spinning OpenMP threads starve a small machine; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COUNT, QUICK = 400, 100
MODELS = ROOT / "models"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="launch.py judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / "starter", help="exported folder to draw from")
    parser.add_argument("--judge", type=Path, default=MODELS / "judge")
    parser.add_argument("--out", type=Path, help="folder for the sheets, the table and report.json (default: none)")
    parser.add_argument("--sampler", default="Euler a", help="by its studio name, as in training/sheet.py")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--lora", type=Path, action="append", default=[], help="merged before drawing; may be repeated")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--count", type=int, default=COUNT, help=f"about how many pictures (default {COUNT})")
    size.add_argument("--quick", action="store_const", const=QUICK, dest="count", help=f"{QUICK} pictures")
    size.add_argument("--full", action="store_const", const=sys.maxsize, dest="count", help="every prompt")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of the table")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the report; gives the exit status: 2 if the judge, the model or the LoRA cannot be used."""
    options = parse(arguments)
    import torch

    from training.errors import TrainingError
    from training.judging import asks, drawing, network, report, sheets

    torch.set_num_threads(options.threads)
    try:
        judge = network.load(options.judge)
        pipeline = drawing.open_model(options.model, sampler=options.sampler, loras=options.lora)
    except TrainingError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.status
    chosen = asks.sample(asks.everything(), options.count)
    began = time.monotonic()

    def told(done: int) -> None:
        left = (time.monotonic() - began) / done * (len(chosen) - done)
        print(
            f"\rjudging: {done} of {len(chosen)} drawn, {left / 60:.1f} min left ", end="", file=sys.stderr, flush=True
        )

    drawn = drawing.draw(pipeline, chosen, steps=options.steps, guidance=options.guidance, told=told)
    print(file=sys.stderr)
    settings = {
        "model": str(options.model),
        "pictures": len(chosen),
        "sampler": options.sampler,
        "steps": options.steps,
        "guidance": options.guidance,
        "loras": [str(path) for path in options.lora],
        "threads": options.threads,
    }
    seconds = {"batched": drawn.batched, "alone": drawn.alone}
    found, seen = report.judge_pictures(judge, chosen, drawn.pictures, settings, seconds)
    text = report.table(found)
    data = json.dumps(found.as_json(), ensure_ascii=False, indent=1)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.txt").write_text(text + "\n", encoding="utf-8")
        (options.out / "report.json").write_text(data + "\n", encoding="utf-8")
        written = sheets.write(options.out, drawn.pictures, chosen, seen)
        print(f"judging: {len(written)} sheets, table.txt and report.json in {options.out}", file=sys.stderr)
    print(data if options.json else text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

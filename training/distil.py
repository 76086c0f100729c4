"""Four steps instead of twenty: a LoRA for the starter in the manner of LCM-LoRA, for LCM samplers at guidance 1.

    python -m training.distil train --minutes 15 [--resume]
    python -m training.distil measure              how near to the teacher's pictures, beside four plain steps
    python -m training.distil export               the LoRA with its card, kohya's layout, half precision

It needs the exported model alone. The teacher walks its guided path from noise to picture; the student learns to jump
from any point of it to its end (Luo et al. 2023, "Latent Consistency Models" and "LCM-LoRA"). `--way paths` takes the
end from the path itself, `--way consistency` from the student's own moving average one solver step further down, as
the papers do. Paths begin in noise, or where the student's own jumps lead, so that it learns from its own mistakes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a small machine

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from backend.engine import lora_file, lora_keys
from backend.engine.lora import Assignment, Bound, RowAdditions, bind, read_adapter
from backend.engine.lora_card import LoraCard, metadata
from backend.engine.lora_factors import factors, untrained
from backend.engine.lora_patches import LowRank
from backend.engine.lora_settings import TrainingSettings
from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel, load
from training import distil_measure, running
from training.checkpoints import stamp
from training.distil_paths import GUIDANCE, JUMPS, Paths, captions, guided, jump, lcm, noised, said, spread, walk

STARTER = Path("models/starter")
FOLDER, NAME = "distil", "starter-lcm"
RANK = 16
BATCH, PEAK, DECAY = 32, 2e-3, 0.99
WALKS = 32  # paths walked at a time
HELD, FIRST = 2048, 64  # paths kept to learn from, and before the first step
REFRESH = 6  # steps between two walks: half of the time goes to the teacher
STAGES = (0.4, 0.2, 0.2, 0.2)  # where paths begin
ON_JUMP = 0.8  # share of points at one of the four jumps; the others serve other numbers of steps
SKIP = 40  # timesteps of a consistency step
HUBER = 0.05
LIMIT = int(2.5 * 2**20)
WAYS = ("paths", "consistency")
ABOUT = "Four steps with the sampler LCM at CFG 1 to 2, for the starter."
MEASURED = {
    "the starter, 20 steps Euler, CFG 4 (other seeds)": "teacher",
    "4 steps LCM with this LoRA, CFG 1": "few",
    "4 steps LCM with this LoRA, CFG 1.5": "guided",
    "4 steps Euler without it, CFG 4": "euler",
    "4 steps LCM without it, CFG 4": "bare",
}
CARD = """---
license: apache-2.0
---
# Starter, four steps

A LoRA for the starter that makes a picture in 4 forwards instead of 40. Use it with the sampler LCM, 4 steps and
CFG 1 to 2, as `<lora:starter-lcm:1>`. CFG 1 needs one forward a step, and the negative prompt has no say in it; at 1.5
pictures are stronger, for two forwards a step. How the judge finds it stands in the starter's card.

- **Made by** `python -m training.distil`: rank {rank} on all attention, linear and convolution layers, {steps} steps
  in {minutes:.0f} minutes, {kilobytes} kB in half precision (kohya layout with its metadata).
- **Method:** latent consistency distillation with the guidance folded in (CFG {guidance:g}), boundary scalings as in
  LCMScheduler; the starter walks its path from noise to picture and the LoRA learns to jump to the path's end, also
  from where its own jumps lead. No art was used, only captions and the starter itself.
- **Licence:** Apache-2.0, like the starter, whose attributions (`models/starter/README.md`) hold here too.

| drawn with | distance to the starter's nearest picture | detail |
|---|---|---|
{rows}

Distance: root mean square in scaled latents to the nearest of six pictures of the same words by the starter, 20 steps;
mean of 32 prompts. Detail: mean difference of neighbouring pixels, against the starter's.
It belongs to this denoiser: for another one it must be made anew.
"""


def open_model(model: Path) -> LoadedModel:
    """The exported folder in float32."""
    return load(Catalog((model,), ()).find(model.name), torch.device("cpu"), torch.float32)


def signal_of(model: LoadedModel) -> Tensor:
    """Share of signal at each timestep, (1000,)."""
    signal: Tensor = DDPMScheduler.from_config(dict(model.scheduler)).alphas_cumprod
    return signal


def place(model: Path, work: Path) -> Path:
    """Where everything lies that belongs to this very model: a LoRA of another one would be stale."""
    return work / FOLDER / stamp(model)


class Student(nn.Module):
    """The denoiser's LoRA: all its attention, linear and convolution layers. The denoiser itself is not part of it."""

    def __init__(self, model: LoadedModel, rank: int = RANK, seed: int = 0) -> None:
        super().__init__()
        self.bound: Bound = untrained(model, settings(rank, seed))
        self.additions = RowAdditions()
        self.factors = nn.ParameterDict()
        for site in self.bound.parts[0][1]:
            down, up = factors(site)
            name = lora_keys.kohya_unet(site.path)
            self.factors.update({f"{name}:down": down, f"{name}:up": up})

    @contextmanager
    def on(self) -> Iterator[nn.Module]:
        """Within it the denoiser has the LoRA, in all threads."""
        unet: nn.Module = self.bound.parts[0][0]
        with self.additions.applied(unet, [Assignment(slice(None), ((self.bound, 1.0, ()),))]):
            yield unet

    def layers(self) -> dict[str, dict[str, Tensor]]:
        """As `lora_file.write_adapter` takes them. alpha is what the scale of a layer comes to at its own rank."""
        found = {}
        for site in self.bound.parts[0][1]:
            assert isinstance(site.patch, LowRank)
            down, up = factors(site)
            alpha = torch.tensor(site.patch.scale * len(down))
            found[lora_keys.kohya_unet(site.path)] = {"up": up.half(), "down": down.half(), "alpha": alpha.half()}
        return found


def settings(rank: int, seed: int, steps: int = 1) -> TrainingSettings:
    """What the studio's trainer would call this."""
    return TrainingSettings(
        rank=rank, alpha=rank, steps=steps, learning_rate=PEAK, resolution=128, batch=BATCH, seed=seed, targets="all",
        schedule="cosine", weight_decay=0.0, caption_dropout=1 / 16,
    )  # fmt: skip


class Pool:
    """The last HELD paths, in half precision."""

    def __init__(self) -> None:
        self._paths: list[tuple[list[int], Tensor, Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, paths: Paths) -> None:
        rows = zip(paths.points.half(), paths.pictures.half(), paths.states.half(), strict=True)
        self._paths = [*self._paths, *((paths.times, *row) for row in rows)][-HELD:]

    def draw(self, count: int, rng: Random) -> Drawn:
        """Random points with the pictures at the ends of their paths."""
        rows = []
        for times, points, picture, states in rng.choices(self._paths, k=count):
            jumps = [place for place, time in enumerate(times) if time in JUMPS]
            place = rng.choice(jumps) if rng.random() < ON_JUMP else rng.randrange(len(times))
            rows.append((points[place].float(), torch.tensor(times[place]), picture.float(), states.float()))
        points_, times_, pictures, told = (torch.stack(column) for column in zip(*rows, strict=True))
        return points_, times_, pictures, told


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """Pseudo-Huber (Song & Dhariwal 2023): like an absolute error, which blurs less than a squared one."""
    return (((made - wanted) ** 2 + HUBER**2).sqrt() - HUBER).mean()


Drawn = tuple[Tensor, Tensor, Tensor, Tensor]
"""Points (B, C, h, w), their times (B,), the pictures their jumps should lead to, states (B, 77, D)."""


def path_loss(unet: nn.Module, drawn: Drawn, signal: Tensor) -> Tensor:
    """How far from the given pictures the jumps end."""
    x, times, wanted, states = drawn
    with torch.autocast("cpu", torch.bfloat16):
        velocity = unet(x, times, states).sample
    return distance(jump(velocity.float(), x, times, signal), wanted)


@torch.no_grad()
def consistent(average: Student, pool: Pool, nothing: Tensor, signal: Tensor, rng: Random) -> Drawn:
    """As `Pool.draw`, but noised anew, and with the average's jump from one guided DDIM step further as the target."""
    _, _, clean, states = pool.draw(BATCH, rng)
    times = (torch.randint(1, 51, (BATCH,)) * 20 - 1).clamp(min=SKIP)
    x = noised(clean, torch.randn_like(clean), times, signal)
    with torch.autocast("cpu", torch.bfloat16):
        unet = average.bound.parts[0][0]
        both = unet(torch.cat([x, x]), torch.cat([times, times]), torch.cat([nothing.expand_as(states), states]))
        without, told = both.sample.float().chunk(2)
    velocity = without + GUIDANCE * (told - without)
    share, lower = spread(signal[times]), times - SKIP
    picture, noise = share.sqrt() * x - (1 - share).sqrt() * velocity, (1 - share).sqrt() * x + share.sqrt() * velocity
    below = noised(picture, noise, lower, signal)
    with average.on() as unet, torch.autocast("cpu", torch.bfloat16):
        velocity = unet(below, lower, states).sample.float()
    return x, times, jump(velocity, below, lower, signal), states


class Teacher:
    """Walks batches of paths, from noise or from where the student's jumps lead; `shards` of it at a time."""

    def __init__(self, model: LoadedModel, signal: Tensor, shards: int) -> None:
        self._model, self._signal = model, signal
        self.nothing = said(model, [""])
        self._shape = (model.latent_channels, model.unet.config.sample_size, model.unet.config.sample_size)
        self._threads = ThreadPoolExecutor(shards, initializer=partial(torch.set_num_threads, 1))
        self._shards = shards

    def walk(self, student: Student, stage: int, rng: Random) -> Paths:
        """WALKS paths from `JUMPS[stage]`."""
        states = said(self._model, captions(WALKS, rng))
        noise = torch.randn(stage + 1, WALKS, *self._shape)
        start = noise[0]
        if stage:
            with student.on() as unet:
                start = self._each(partial(_jumped, unet, self._signal), states, noise)
        times: list[list[int]] = []

        def walked(told: Tensor, x: Tensor) -> Tensor:
            paths = walk(self._model.unet, x, stage, told, self.nothing, self._signal)
            times.append(paths.times)
            return torch.cat([paths.points, paths.pictures.unsqueeze(1)], 1)

        whole = self._each(walked, states, start.unsqueeze(0))
        return Paths(times[0], whole[:, :-1], whole[:, -1], states)

    def _each(self, work: Callable[..., Tensor], states: Tensor, tensors: Tensor) -> Tensor:
        """`work` on shards of the rows: states (B, ...), tensors (K, B, ...) given one by one."""
        parts = zip(states.chunk(self._shards), tensors.chunk(self._shards, 1), strict=True)
        return torch.cat(list(self._threads.map(lambda part: work(part[0], *part[1]), parts)))


def _jumped(unet: nn.Module, signal: Tensor, told: Tensor, *noise: Tensor) -> Tensor:
    """Where the student's jumps through all but the last of `noise` lead, in that noise."""
    return lcm(guided(unet, told, told, 1.0), noise, signal, len(noise) - 1)


def train(
    work: Path, *, minutes: float, seed: int, resume: bool, model: Path = STARTER,
    way: str = "paths", shards: int = 1, rank: int = RANK,
) -> None:  # fmt: skip
    """Trains for `minutes`, walks included, and leaves `lora.safetensors` in `place`."""
    torch.manual_seed(seed)
    rng, loaded = Random(seed), open_model(model)
    loaded.unet.requires_grad_(False)
    signal = signal_of(loaded)
    student, average = Student(loaded, rank, seed), Student(loaded, rank, seed)
    run = running.begin(student, minutes=minutes, peak=PEAK, decay=DECAY, weight_decay=0.0)
    path = place(model, work) / "lora.safetensors"
    if resume and path.exists():
        kept = _rank(running.part(running.load(path)[0], "average"))
        if kept != _rank(dict(student.named_parameters())):
            raise SystemExit(f"The checkpoint has rank {kept}: give --rank {kept}, or begin anew without --resume.")
        run.resume(path)
        torch.manual_seed(seed + run.step)
        rng = Random(seed + run.step)
    teacher, pool = Teacher(loaded, signal, shards), Pool()
    began, first, over = run.budget.seconds(), run.step, False
    while not over:
        if len(pool) < FIRST or run.step % REFRESH == 0:
            run.average.into(average)
            stage = rng.choices(range(len(JUMPS)), STAGES if way == "paths" else (1, 0, 0, 0))[0]
            pool.add(teacher.walk(average, stage, rng))
            if len(pool) < FIRST:
                continue
        if way == "consistency":
            run.average.into(average)
            drawn = consistent(average, pool, teacher.nothing, signal, rng)
        else:
            drawn = pool.draw(BATCH, rng)
        shares: list[Drawn] = list(zip(*(tensor.chunk(shards) for tensor in drawn), strict=True))
        with student.on() as unet:
            run.advance(*[partial(path_loss, unet, share, signal) for share in shares])
        if run.step % 25 == 0:
            speed = (run.budget.seconds() - began) / (run.step - first) * 100
            told = f"step {run.step} loss {run.loss:.4f} {speed:.0f} s per 100 steps, {len(pool)} paths"
            print(f"distil: {told} {run.budget.share():.1%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)


def trained(folder: Path, loaded: LoadedModel) -> tuple[Student, dict[str, float]]:
    """The averaged LoRA of the checkpoint in `folder`, and what the checkpoint says of itself."""
    path = folder / "lora.safetensors"
    if not path.exists():
        raise SystemExit("There is no LoRA of this model yet: run `python -m training.distil train`.")
    tensors, facts = running.load(path)
    weights = running.part(tensors, "average")
    student = Student(loaded, _rank(weights))
    student.load_state_dict(weights)
    return student, facts


def _rank(weights: Mapping[str, Tensor]) -> int:
    return max(len(value) for name, value in weights.items() if name.endswith(":down"))


def write(student: Student, loaded: LoadedModel, facts: Mapping[str, float], target: Path) -> int:
    """Writes `target/starter-lcm.safetensors`; gives its size in bytes. Raises SystemExit if it is too large."""
    steps, rank = int(facts["step"]), _rank(dict(student.named_parameters()))
    card = LoraCard(NAME, licence="Apache-2.0", description=ABOUT)
    told = metadata(card, loaded, settings(rank, 0, steps), (), steps, facts["loss"])
    draft = target / f"{NAME}.draft.safetensors"
    lora_file.write_adapter(draft, student.layers(), told)
    size = draft.stat().st_size
    if size > LIMIT:
        draft.unlink()
        raise SystemExit(f"The LoRA takes {size / 2**20:.2f} MiB, the limit is {LIMIT / 2**20:.1f}: lower --rank.")
    draft.chmod(0o644)
    draft.replace(target / f"{NAME}.safetensors")
    return size


def measure(work: Path, *, model: Path = STARTER) -> dict[str, float]:
    """Distances to the teacher's pictures, kept for the card, and a sheet to look at.

    What is measured is the file as the studio loads it.
    """
    loaded, folder = open_model(model), place(model, work)
    write(*_with(folder, loaded), folder)
    adapter = read_adapter(folder / f"{NAME}.safetensors", NAME)
    found, drawn = distil_measure.scores(loaded, bind(adapter, loaded))
    distil_measure.contact(drawn, folder / "sheet.png")
    (folder / "scores.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(f"distil: {json.dumps(found)}\ndistil: sheet {folder / 'sheet.png'}", flush=True)
    return found


def _with(folder: Path, loaded: LoadedModel) -> tuple[Student, LoadedModel, dict[str, float]]:
    student, facts = trained(folder, loaded)
    return student, loaded, facts


def export(work: Path, target: Path, *, model: Path = STARTER) -> int:
    """Writes the LoRA and its card; gives the size of the LoRA in bytes."""
    loaded, folder = open_model(model), place(model, work)
    student, facts = trained(folder, loaded)
    size = write(student, loaded, facts, target)
    text = card(folder, facts, _rank(dict(student.named_parameters())), size)
    (target / "README.md").write_text(text, encoding="utf-8")
    print(f"distil: {size / 2**20:.2f} MiB in {target}", flush=True)
    return size


def card(folder: Path, facts: Mapping[str, float], rank: int, size: int) -> str:
    """The card, with what `measure` left in `folder`."""
    path = folder / "scores.json"
    rows = "| not measured | | |"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = "\n".join(
            f"| {what} | {found[name]:.3f} | {found[f'{name} detail']:.0%} |" for what, name in MEASURED.items()
        )
    told = {"steps": int(facts["step"]), "minutes": facts["seconds"] / 60, "kilobytes": size // 1000, "rank": rank}
    return CARD.format(rows=rows, guidance=GUIDANCE, **told)


def main(arguments: list[str] | None = None) -> None:
    """Runs one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m training.distil", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("train", "measure", "export"))
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="files lie in WORK/distil/MODEL")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, resumed parts included")
    parser.add_argument("--way", choices=WAYS, default=WAYS[0])
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("models/starter-lcm"))
    options = parser.parse_args(arguments)
    # Threads that meet once a step cope with a busy machine: one shard of the batch for each.
    torch.set_num_threads(1 if options.stage == "train" else options.threads)
    if options.stage == "train":
        timing = {"minutes": options.minutes, "seed": options.seed, "resume": options.resume}
        train(options.work, **timing, model=options.model, way=options.way, shards=options.threads, rank=options.rank)
    elif options.stage == "measure":
        measure(options.work, model=options.model)
    else:
        export(options.work, options.out, model=options.model)


if __name__ == "__main__":
    main()

"""Marks in the noise that pictures begin with: when one may be put in, and the marked noise.

A mark is there to be read again, by running the model backwards (backend.engine.inversion). So it is put in only where
the way back is known: nothing but this one noise, this model and a prompt made the picture. On the starter model no
trace of a mark is left after a sampler that adds noise on its way (benchmarks.trust.latent measures it).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.models.loader import LoadedModel
from backend.solvers.moves import Plan
from backend.types import GenerationRequest
from backend.wire import NoiseMark


def stays(request: GenerationRequest, plan: Plan, model: LoadedModel) -> bool:
    """Whether a mark in the first noise of this run can be looked for in the finished picture."""
    stirred = bool(plan.start_noise) or any(move.noise for move in plan.moves)
    turned = request.variation or request.resize_from
    other = request.hires or request.refiner or request.control or request.tiling or model.inpaints
    return request.mode == "txt2img" and not (stirred or turned or other)


def marked(mark: NoiseMark, drawn: Tensor, seed: int) -> Tensor:
    """Marked noise for `drawn` (1, C, h, w), made on the CPU like all noise."""
    return torch.from_numpy(np.ascontiguousarray(mark.shape(drawn.cpu().numpy(), seed))).to(drawn.device)

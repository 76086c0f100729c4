"""The upscalers that are always there, by name: no torch here, so that the studio can check a request."""

from __future__ import annotations

PIXEL = ("Lanczos", "Nearest")
"""Work on the finished picture."""

LATENT = (
    "Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)",
    "Latent (nearest-exact)",
)  # fmt: skip
"""Work on latents between two passes; names of A1111 1.10.1."""

"""Reads a prompt as a model would and says which categories it touches, and why. Pure text, no models.

It undoes mechanical disguises (look-alike letters, invisible characters, spacing, digits for letters) and compares
whole words with a short list. It does not understand meaning: paraphrase and metaphor pass, and pictures are inspected
for that reason too.
"""

from safety.prompt_filter.rules import Filter

__all__ = ["Filter"]

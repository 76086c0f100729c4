"""Pictures to hints for control models: edges, lines, tones and colours. No torch; most need no weights."""

from backend.preprocessors.shapes import Preprocessor, Slider
from backend.preprocessors.table import ALIASES, PREPROCESSORS, canonical, find, preprocess, unavailable

__all__ = ["ALIASES", "PREPROCESSORS", "Preprocessor", "Slider", "canonical", "find", "preprocess", "unavailable"]

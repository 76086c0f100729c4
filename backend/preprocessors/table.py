"""Every preprocessor in the order of the menu, found by its name or by its name in A1111's ControlNet extension."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from backend.errors import BadRequest, InvalidParameter, Problem
from backend.preprocessors import colours, lines, tones, weighted
from backend.preprocessors.shapes import MAX_RESOLUTION, MIN_RESOLUTION, Preprocessor, Slider
from backend.preprocessors.sizing import Resize, fitted, perfect_resolution
from backend.types import Pixels

_GAMMA = Slider("Gamma", 0.1, 2.0, 1.0, 0.01)

_ALL = (
    Preprocessor("none", "None", "The picture is a hint already.", tones.unchanged, own_size=True),
    Preprocessor(
        "canny", "Canny", "Thin lines where brightness changes suddenly.", lines.canny,
        Slider("Low threshold", 1, 255, 100), Slider("High threshold", 1, 255, 200),
    ),
    Preprocessor(
        "softedge", "Soft edge (filters)", "Soft outlines without texture, by filters alone.", lines.soft_edge,
        aliases=("softedge_pidinet", "softedge_pidisafe", "softedge_teed", "softedge_anyline", "pidinet"),
    ),
    Preprocessor(
        "hed", "Soft edge (HED)", "Soft outlines by a network; the usual hint of softedge models.", weighted.hed,
        needs=weighted.HED, aliases=("softedge_hed", "softedge_hedsafe"),
    ),
    Preprocessor(
        "scribble", "Scribble (XDoG)", "Broad pen strokes.", lines.scribble, Slider("Threshold", 1, 64, 32),
        aliases=("scribble_xdog", "scribble_hed", "scribble_pidinet", "fake_scribble"),
    ),
    Preprocessor(
        "lineart", "Line art (filters)", "Fine lines in their own strength.", lines.line_art,
        aliases=(
            "lineart_standard", "lineart_standard (from white bg & black line)", "lineart_realistic", "lineart_coarse",
            "lineart_anime", "lineart_anime_denoise",
        ),
    ),
    Preprocessor(
        "lines", "Straight lines", "Walls, roads and furniture: long straight edges.", lines.straight_lines,
        Slider("Shortest line, % of the shorter side", 1, 50, 5), aliases=("mlsd",),
    ),
    Preprocessor(
        "invert", "Invert", "A drawing in black on white becomes white on black.", tones.inverted,
        aliases=("invert (from white bg & black line)",),
    ),
    Preprocessor(
        "threshold", "Threshold", "White where it is bright, black elsewhere.", tones.binary,
        Slider("Threshold", 0, 255, 127),
    ),
    Preprocessor("threshold_otsu", "Threshold (Otsu)", "The same, at the level that fits the picture.",
                 tones.binary_otsu),
    Preprocessor("depth", "Depth", "Near is bright.", weighted.depth, needs=weighted.DEPTH, aliases=(
        "depth_midas", "depth_zoe", "depth_leres", "depth_leres++", "depth_anything", "depth_anything_v2",
    )),
    Preprocessor(
        "normal", "Normals", "Directions of surfaces as colours.", weighted.normals,
        Slider("Background, share of the depth", 0, 1, 0.4, 0.01), needs=weighted.DEPTH,
        aliases=("normal_midas", "normal_bae", "normal_dsine", "normal_map"),
    ),
    Preprocessor(
        "openpose", "Pose", "Skeletons of people.", weighted.pose, needs=weighted.POSE,
        aliases=("openpose_full", "openpose_face", "openpose_faceonly", "openpose_hand", "dw_openpose_full"),
    ),
    Preprocessor(
        "seg", "Segmentation", "A colour for each kind of thing.", weighted.unsupported(weighted.SEGMENTS),
        needs=weighted.SEGMENTS,
        aliases=("seg_ofade20k", "seg_ofcoco", "seg_ufade20k", "oneformer_ade20k", "segmentation"),
    ),
    Preprocessor(
        "subject", "Subject mask", "White where the main thing is.", weighted.subject,
        Slider("Threshold (0 keeps soft borders)", 0, 1, 0.0, 0.01), needs=weighted.SUBJECT,
        aliases=("rembg", "subject_mask"),
    ),
    Preprocessor(
        "color", "Colour grid", "One colour for each square of 64 pixels.", colours.colour_grid,
        aliases=("t2ia_color_grid", "colour_grid"),
    ),
    Preprocessor(
        "tile", "Tile", "The picture without its detail, for repainting it finer.", colours.tile,
        Slider("Down-sampling rate", 1, 8, 1, 0.01),
        aliases=("tile_resample", "tile_colorfix", "tile_colorfix+sharp"),
    ),
    Preprocessor(
        "shuffle", "Shuffle", "Its colours and textures, elsewhere.", colours.shuffle,
        Slider("Seed", 0, 65535, 0),
    ),
    Preprocessor(
        "blur", "Blur", "Its colours without detail.", colours.blur, Slider("Radius", 0.01, 64, 9, 0.01),
        aliases=("blur_gaussian",),
    ),
    Preprocessor(
        "luminance", "Luminance", "Brightness without colour, for recolouring.", tones.luminance, _GAMMA,
        aliases=("recolor_luminance",),
    ),
    Preprocessor(
        "intensity", "Intensity", "The strongest colour channel, for recolouring.", tones.intensity, _GAMMA,
        aliases=("recolor_intensity",),
    ),
)  # fmt: skip

PREPROCESSORS: Mapping[str, Preprocessor] = MappingProxyType({one.name: one for one in _ALL})
ALIASES: Mapping[str, str] = MappingProxyType({alias: one.name for one in _ALL for alias in (one.name, *one.aliases)})


def canonical(name: str) -> str | None:
    """The name in PREPROCESSORS for a name or alias in any case; "" is "none". None if nobody knows it."""
    return ALIASES.get(name.strip().casefold() or "none")


def find(name: str) -> Preprocessor:
    """By name or alias in any case; "" is "none". Raises BadRequest naming the choices."""
    known = canonical(name)
    if known is None:
        hint = "Choose one of: " + ", ".join(PREPROCESSORS) + "."
        detail = f'There is no preprocessor called "{name[:80]}".'
        raise BadRequest(Problem("unknown-preprocessor", "Unknown preprocessor", detail, 422, "preprocessor", hint))
    return PREPROCESSORS[known]


def unavailable(name: str, weights: Path | None) -> Problem | None:
    """Why a preprocessor cannot run with what lies in `weights`, None if it can."""
    problem = weighted.missing(find(name).needs, weights)
    return problem.problem if problem else None


def preprocess(
    name: str,
    pixels: Pixels,
    *,
    width: int,
    height: int,
    pixel_perfect: bool = True,
    resolution: int | None = None,
    resize: Resize = "crop",
    low: float | None = None,
    high: float | None = None,
    weights: Path | None = None,
) -> Pixels:
    """The hint at the size of the picture to be made: uint8 (height, width, 3).

    `pixel_perfect`, or no `resolution`, chooses the working size at which nothing has to be resized afterwards.
    `low`, `high` None or -1 take the preprocessor's defaults; `weights` is the folder of weight files. Raises
    BadRequest for an unknown name, InvalidParameter for numbers out of range, Unavailable if weights are missing.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != "uint8" or 0 in pixels.shape:
        raise InvalidParameter("image", "The picture of a control unit must have 8-bit red, green and blue.")
    if pixel_perfect or resolution is None or resolution == -1:
        resolution = perfect_resolution(pixels, width, height, resize)
        resolution = min(max(resolution, MIN_RESOLUTION), MAX_RESOLUTION)
    hint = find(name).run(pixels, resolution=resolution, low=low, high=high, weights=weights)
    return fitted(hint, width, height, resize)

"""The curve of a training's loss, thinned as it grows so that it stays small enough to send. Pure."""

from __future__ import annotations

MOST_POINTS = 500
"""Points that are kept; beyond, neighbours are averaged."""

Points = tuple[tuple[int, float], ...]
"""(step, mean loss of the steps since the point before)."""


def joined(points: Points, new: tuple[int, float], stride: int) -> tuple[Points, int]:
    """The curve with one step more, and how many steps a point stands for now.

    The last point may stand for fewer steps; it grows with what comes.
    """
    step, loss = new
    if points and (points[-1][0] - 1) // stride == (step - 1) // stride:
        last, mean = points[-1]
        seen = (last - 1) % stride + 1
        points = (*points[:-1], (step, (mean * seen + loss) / (seen + 1)))
    else:
        points = (*points, new)
    if len(points) <= MOST_POINTS:
        return points, stride
    pairs = [points[at : at + 2] for at in range(0, len(points), 2)]
    return tuple((pair[-1][0], sum(loss for _, loss in pair) / len(pair)) for pair in pairs), stride * 2

"""A film of where the weights of a run's networks were in the course of its training."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.extras import require
from agents.runs.patterns import Moment, read_patterns
from agents.trained.policy import TrainedPolicy
from agents.trained.recording import write_video, written_whole
from envs.rendering import figure_pixels
from policies.refusal import Refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAMES_PER_SECOND = 6.0
_LAST = 12
"""So many frames show the end."""


def record_patterns(policy: TrainedPolicy, path: str | Path) -> None:
    """Write the film: the beginning, and a frame for each move.

    :param path: .mp4 or .gif; replaces a file that exists
    :raises Refusal: if no weights moved in the run, or the path does not fit or cannot be written
    """
    path, run = Path(path), policy.source.parent
    if path.suffix not in (".mp4", ".gif"):
        raise Refusal(f"`video` {path} does not fit: .mp4 or .gif is needed at its end")
    moments = read_patterns(run) if policy.source.is_dir() else []
    if not moments:
        raise Refusal(f"`video_of` pattern does not fit {policy.source}: a run in which weights moved is needed")
    require("video", "`video`")
    try:
        with written_whole(path) as unfinished:
            write_video(unfinished, _frames(moments), FRAMES_PER_SECOND)
    except OSError as error:
        raise Refusal(f"`video` {path} cannot be written: {error.strerror}") from None


def _frames(moments: list[Moment]) -> Iterator[np.ndarray]:
    for moment in moments:
        frame = figure_pixels(_figure(moment))
        yield frame
    yield from [frame] * _LAST


def _figure(moment: Moment) -> "Figure":
    import matplotlib  # takes long to load
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(8, 3 * len(moment.pictures) + 0.4), dpi=100, layout="constrained")
        figure.suptitle(f"after {moment.at:,} {'updates on demonstrations' if moment.phase else 'steps'}")
        panels = figure.subplots(len(moment.pictures), squeeze=False)[:, 0]
        for axes, (name, picture) in zip(panels, moment.pictures.items(), strict=True):
            n_inputs, n_hidden, n_outputs = (int(size) for size in picture.sizes)
            n_rows, n_columns = n_hidden + n_outputs, n_inputs + n_hidden + n_outputs
            extent = (0.0, float(n_columns), float(n_rows), 0.0)
            axes.imshow(picture.density, cmap="Blues", vmin=0, vmax=255, extent=extent, aspect="auto")
            for edge in (n_inputs, n_inputs + n_hidden):
                axes.axvline(edge, color="#d1495b", linewidth=0.8)
            axes.axhline(n_hidden, color="#d1495b", linewidth=0.8)
            axes.set_title(f"{name}: hidden proportion {picture.hidden_proportion:.3f}")
            axes.set(xlabel="from x | h | y", ylabel="to h | y")
    return figure

"""Where the weights of a run's networks were in the course of its training, as small pictures in the run folder.

`patterns/<steps>.npz` is one moment, `patterns/demos-<updates>.npz` one of the phase before, in which demonstrations
are fitted. A training that is resumed writes the files of the same steps once more.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.runs.files import write_whole
from policies.network.blocks import BLOCKS
from policies.recurrent.layer import SparseRecurrentLayer
from policies.refusal import Refusal

FOLDER = "patterns"
_LARGEST = 160, 320


class PatternPicture(NamedTuple):
    """A network at one moment: rows are targets (h above y), columns sources (x, h, y)."""

    density: NDArray[np.uint8]
    """(rows, columns), the share of a cell's positions that hold a weight, of 255"""
    sizes: NDArray[np.int64]
    """n_x, n_h, n_y"""
    weights: NDArray[np.int64]
    """of the six blocks, in the order of `BLOCKS`"""

    @property
    def hidden_proportion(self) -> float:
        """Share of all weights that lie in the hidden-to-hidden block."""
        return float(self.weights[BLOCKS.index("hh")] / self.weights.sum())

    @classmethod
    def of(cls, layer: SparseRecurrentLayer) -> "PatternPicture":
        """Draw a layer as it is."""
        specification = layer.specification
        pattern = layer.matrix([[target + source for source in "xhy"] for target in "hy"])
        shape = tuple(min(size, most) for size, most in zip(pattern.shape, _LARGEST, strict=True))
        rows, columns = pattern.rows * shape[0] // pattern.shape[0], pattern.columns * shape[1] // pattern.shape[1]
        counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
        heights, widths = (
            np.bincount(np.arange(size) * cells // size, minlength=cells)
            for size, cells in zip(pattern.shape, shape, strict=True)
        )
        density = np.rint(255 * counts / np.outer(heights, widths)).astype(np.uint8)
        sizes = specification.n_inputs, specification.n_hidden, specification.n_outputs
        return cls(density, np.array(sizes), np.array([specification.weights[block] for block in BLOCKS]))


class Moment(NamedTuple):
    """The networks of a run at one moment."""

    phase: str
    """"demos" while demonstrations were fitted, else empty"""
    at: int
    """steps of the training before it; of the phase of demonstrations, updates"""
    pictures: dict[str, PatternPicture]
    """by name of the network"""


def write_patterns(run: Path, at: int, layers: Mapping[str, SparseRecurrentLayer], phase: str = "") -> None:
    """Write how the networks of a run look at a moment; see `Moment`.

    :param layers: by name
    """
    pictures = {name: PatternPicture.of(layer)._asdict() for name, layer in layers.items()}
    arrays = {f"{name}.{part}": array for name, parts in pictures.items() for part, array in parts.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    (run / FOLDER).mkdir(exist_ok=True)
    name = f"{at:012}.npz"
    write_whole(run / FOLDER / (f"{phase}-{name}" if phase else name), content.getvalue())


def read_patterns(run: Path) -> list[Moment]:
    """Read how the networks of a run looked, in the order of time.

    :raises Refusal: if a file is damaged
    """
    found = []
    for file in (run / FOLDER).glob("*.npz"):
        try:
            with np.load(file, allow_pickle=False) as arrays:
                names = dict.fromkeys(name.partition(".")[0] for name in arrays.files)
                parts = PatternPicture._fields
                pictures = {name: PatternPicture(*(arrays[f"{name}.{part}"] for part in parts)) for name in names}
            phase, _, at = file.stem.rpartition("-")
            found.append(Moment(phase, int(at), pictures))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise Refusal(f"{file} is damaged: {error}") from None
    return sorted(found, key=lambda moment: (not moment.phase, moment.at))

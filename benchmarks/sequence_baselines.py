"""Labelled sequences as scikit-learn's classifiers tell them apart: python -m benchmarks.sequence_baselines.

They learn from the training sequences of SequenceChoice-v0, without its validation ones, and are tested on its test
sequences: the same ones as an agent. A classifier sees a whole sequence at once, every channel interpolated to the
median length, each entry scaled to variance 1. aeon's package brings the data, as docs/sequences.md says.
"""

from pathlib import Path

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.harness import Finding, markdown_table, run_benchmark
from envs.sequence_choice.sources import SequenceSplit, load_sequences

ARCHIVE = "archive/aeon/datasets/data"
DATA_SETS = ("BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels")
SOURCES = ("digits", *(f"{ARCHIVE}/{name}/{name}_TRAIN.ts" for name in DATA_SETS))
METHODS = {"1-NN": lambda: KNeighborsClassifier(1), "SVM": lambda: SVC(C=10.0)}


def name_of(source: str) -> str:
    """Return what tables call a source."""
    return Path(source).stem.removesuffix("_TRAIN")


def flattened(split: SequenceSplit, length: int) -> np.ndarray:
    """Return sequences as rows of numbers, (N, length · C), each channel interpolated linearly."""
    rows = []
    for start, own in zip(split.starts, split.lengths, strict=True):
        steps = split.steps[start : start + own]
        places = np.linspace(0, own - 1, length)
        rows.append(np.concatenate([np.interp(places, np.arange(own), channel) for channel in steps.T]))
    return np.array(rows)


def accuracies(source: str) -> dict[str, float]:
    """Return the test accuracy of each method."""
    train, test = load_sequences(source, "train"), load_sequences(source, "test")
    length = int(np.median(train.lengths))
    found = {}
    for name, make in METHODS.items():
        classifier = make_pipeline(StandardScaler(), make()).fit(flattened(train, length), train.classes)
        found[name] = float(classifier.score(flattened(test, length), test.classes))
    return found


def measure(rounds: int) -> Finding:
    """Fit and test every method on every source; there is no chance in it, so that one round is enough."""
    found = {name_of(source): accuracies(source) for source in SOURCES}
    sizes = {
        name_of(source): [len(load_sequences(source, split).lengths) for split in ("train", "test")]
        for source in SOURCES
    }
    table = markdown_table(
        ("data set", "training sequences", "test sequences", *METHODS),
        [(name, *sizes[name], *(f"{values[method]:.3f}" for method in METHODS)) for name, values in found.items()],
    )
    notes = "Test accuracy of scikit-learn's nearest neighbour, and of a support vector machine with C = 10."
    return Finding({"accuracies": found}, [table, notes], packages=("scikit-learn",))


if __name__ == "__main__":
    run_benchmark("sequence_baselines", "Labelled sequences: scikit-learn's classifiers", __doc__, measure, rounds=1)

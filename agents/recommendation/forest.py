"""Regression trees as plain arrays: fitted by scikit-learn, kept and asked without it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

KINDS = ("extra trees", "random forest", "gradient boosting")
TREES = 100


@dataclass(frozen=True)
class Forest:
    """A sum of regression trees, whose nodes lie one tree after the other.

    :ivar roots: (trees,) int32, first node of each tree
    :ivar feature: (nodes,) int32, which decides at a node; -1 at a leaf
    :ivar threshold: (nodes,) float64; up to it a row goes to the left
    :ivar left: (nodes,) int32, the node to go on with; a leaf goes on with itself
    :ivar right: (nodes,) int32
    :ivar value: (nodes,) float64, what a leaf adds
    :ivar base: (1,) float64, what is added to
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    base: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return predictions, (n,) float64.

        :param rows: (n, features)
        """
        rows = np.asarray(rows, np.float32)  # as scikit-learn compares them
        at = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        numbers = np.arange(len(rows))[:, None]
        while (self.feature[at] >= 0).any():
            low = rows[numbers, self.feature[at]] <= self.threshold[at]
            at = np.where(low, self.left[at], self.right[at])
        return self.base[0] + self.value[at].sum(axis=1)

    def arrays(self) -> dict[str, Any]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], n_features: int) -> "Forest":
        """Return the forest of `arrays`.

        :raises ValueError: if they are those of none, or a row would not come to a leaf
        """
        forest = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        nodes = np.arange(len(forest.feature))
        inner = forest.feature >= 0
        if not (
            all(array.ndim == 1 and len(array) == len(nodes) for array in list(vars(forest).values())[1:-1])
            and all(getattr(forest, name).dtype == np.int32 for name in ("roots", "feature", "left", "right"))
            and all(np.isfinite(getattr(forest, name)).all() for name in ("threshold", "value", "base"))
            and forest.base.shape == (1,)
            and (forest.feature < n_features).all()
            and ((forest.roots >= 0) & (forest.roots < len(nodes))).all()
            # A child comes after its parent, so that every way ends.
            and all(((child > nodes) & (child < len(nodes)))[inner].all() for child in (forest.left, forest.right))
        ):
            raise ValueError("the arrays are those of no forest")
        return forest


def fit_forest(kind: str, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, trees: int = TREES) -> Forest:
    """Fit trees.

    :param kind: one of `KINDS`
    :param rows: (n, features)
    :param targets: (n,)
    :param weights: (n,), of the rows
    """
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

    model: Any
    if kind == "gradient boosting":
        model = GradientBoostingRegressor(
            n_estimators=trees, max_depth=3, learning_rate=0.1, subsample=0.5, min_samples_leaf=3, random_state=0
        )
    else:
        cls = {"extra trees": ExtraTreesRegressor, "random forest": RandomForestRegressor}[kind]
        model = cls(n_estimators=trees, min_samples_leaf=3, max_features=0.5, random_state=0)
    model.fit(rows, targets, sample_weight=weights)
    if kind == "gradient boosting":
        base = float(model.init_.constant_[0, 0])
        return _joined([tree.tree_ for tree in model.estimators_[:, 0]], base, model.learning_rate)
    return _joined([tree.tree_ for tree in model.estimators_], 0.0, 1 / trees)


def _joined(trees: list[Any], base: float, scale: float) -> Forest:
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    leaf = np.concatenate([tree.children_left < 0 for tree in trees])
    own = np.arange(len(leaf))

    def after(name: str) -> np.ndarray:
        children = np.concatenate([getattr(tree, name) + root for tree, root in zip(trees, roots, strict=True)])
        return np.where(leaf, own, children).astype(np.int32)

    return Forest(
        roots=roots.astype(np.int32),
        feature=np.where(leaf, -1, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
        threshold=np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])),
        left=after("children_left"),
        right=after("children_right"),
        value=np.where(leaf, scale * np.concatenate([tree.value[:, 0, 0] for tree in trees]), 0.0),
        base=np.array([base]),
    )

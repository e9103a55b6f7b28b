"""Figures about a sparse network that TensorBoard shows beside the learning curves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image, Logger

from agents.monitoring.dispensable import Dispensable
from agents.ppo.rebalancing_figures import record_network
from agents.ppo.sequence_buffer import SequenceRolloutBuffer
from envs.rendering import figure_pixels
from envs.vectorized.state_tree import StateTree
from policies.network.specification import NETWORKS
from policies.recurrent.layer import SparseRecurrentLayer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DENSE_EIGENVALUES = 300
"""Up to this size all eigenvalues of a matrix take less time than the iteration for one."""


def block_matrix(layer: SparseRecurrentLayer, layout: Sequence[Sequence[str]]) -> scipy.sparse.csr_array:
    """Return weight blocks of a layer, laid out in rows, as one sparse matrix."""
    pattern = layer.matrix(layout)
    values = np.concatenate([layer.weights[block].detach().cpu().double().numpy() for block in pattern.blocks])
    return scipy.sparse.csr_array((values, (pattern.rows, pattern.columns)), shape=pattern.shape)


def spectral_radius(matrix: scipy.sparse.csr_array) -> float:
    """Return the largest absolute eigenvalue of a square sparse matrix; exactly 0 if its graph has no cycle.

    Found by Arnoldi iteration to three digits. Where that does not converge, which happens when many eigenvalues
    share the largest modulus, the best estimate so far is returned, or all eigenvalues are computed.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigs

    size = matrix.shape[0]
    components, _ = connected_components(matrix, directed=True, connection="strong")
    if components == size and not matrix.diagonal().any():
        return 0.0
    if size > _DENSE_EIGENVALUES:
        try:
            start = np.random.default_rng(0).standard_normal(size)
            return float(abs(eigs(matrix, k=1, which="LM", tol=1e-3, v0=start, return_eigenvectors=False)[0]))
        except ArpackNoConvergence as error:
            if len(error.eigenvalues):
                return float(np.abs(error.eigenvalues).max())
        except ArpackError:
            pass
    return float(np.abs(np.linalg.eigvals(matrix.toarray())).max())


def silent_units(layer: SparseRecurrentLayer, buffer: SequenceRolloutBuffer) -> float:
    """Return the share of the actor's hidden units that are zero at every step of the rollout in the buffer."""
    n_hidden = layer.specification.n_hidden
    device = layer.bias.device
    with torch.no_grad():
        states, _ = layer(
            torch.as_tensor(buffer.observations, device=device).float(),
            buffer.initial_states.pi[0][0, :, : layer.state_size],
            torch.as_tensor(buffer.episode_starts, device=device),
        )
        return float((states[..., :n_hidden] == 0).all(dim=0).all(dim=0).float().mean())


def pattern_picture(layer: SparseRecurrentLayer, title: str) -> "Figure":
    """Draw where a network has weights: rows are targets (h above y), columns sources (x, h, y)."""
    import matplotlib  # takes long to load
    from matplotlib.figure import Figure

    specification = layer.specification
    rows = [[block_matrix(layer, [[target + source]]) for source in "xhy"] for target in "hy"]
    pattern = scipy.sparse.block_array(rows)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(7, 5), dpi=110, layout="constrained")
        axes = figure.subplots()
        size = max(0.1, min(4.0, 900 / sum(pattern.shape)))
        axes.spy(pattern, markersize=size, color="#20639b", aspect="auto")
        for edge in np.cumsum([specification.n_inputs, specification.n_hidden]):
            axes.axvline(edge - 0.5, color="#d1495b", linewidth=0.8)
        axes.axhline(specification.n_hidden - 0.5, color="#d1495b", linewidth=0.8)
        axes.set_title(
            f"{title}: {specification.total_weights:,} weights, {specification.n_hidden} hidden units, "
            f"hidden proportion {specification.hidden_proportion:.3f}"
        )
        axes.set_xlabel(
            f"from: {specification.n_inputs} inputs x | hidden units h | {specification.n_outputs} outputs y"
        )
        axes.set_ylabel("to: h (above), y (below)")
    return figure


def record_pattern(logger: Logger, phase: str, name: str, layer: SparseRecurrentLayer) -> None:
    """Log a picture of where a network has weights.

    :param phase: "network", or "demos" while demonstrations are fitted; the picture's name begins with it
    :param name: "actor" or "critic"
    """
    picture = Image(figure_pixels(pattern_picture(layer, name)), "HWC")
    logger.record(f"{phase}/pattern/{name}", picture, exclude=("csv", "stdout"))


class NetworkCallback(BaseCallback):
    """Logs what sparse networks look like and how alive the actor is; does nothing for networks of another kind.

    :param every: environment steps between the figures that take time, spectral radius and silent units
    :param pictures_every: environment steps between pictures of the patterns; None where these do not change
    """

    def __init__(self, every: int, pictures_every: int | None = None) -> None:
        super().__init__()
        self.every = every
        self.pictures_every = pictures_every
        self._due = 0
        self._shown = False
        self._figures = Dispensable("figures of the network")

    def get_state(self) -> dict[str, Any]:
        return {"due": self._due, "shown": self._shown}

    def set_state(self, state: dict[str, Any]) -> None:
        tree = StateTree(state)
        self._due, self._shown = tree.whole("due"), tree.flag("shown")

    def _on_training_start(self) -> None:
        policy = self.model.policy
        if self._shown or not isinstance(policy.actor, SparseRecurrentLayer):
            return
        self._shown = True
        for name in NETWORKS:
            record_network(self.logger, "network", name, getattr(policy, name).specification)
        self._record_patterns()
        self.logger.dump(self.num_timesteps)

    def _record_patterns(self) -> None:
        with self._figures.attempt():
            for name in NETWORKS:
                record_pattern(self.logger, "network", name, getattr(self.model.policy, name))

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        actor = self.model.policy.actor
        if self._figures.given_up or not isinstance(actor, SparseRecurrentLayer):
            return
        rollout = self.model.n_steps * self.model.n_envs
        if self.pictures_every is not None and self.num_timesteps % self.pictures_every < rollout:
            self._record_patterns()
        if self.num_timesteps < self._due:
            return
        with self._figures.attempt():
            self.logger.record("network/silent_units", silent_units(actor, self.locals["rollout_buffer"]))
            # Of all that comes back: the outputs are part of the state.
            recurrent = block_matrix(actor, [["hh", "hy"], ["yh", "yy"]])
            self.logger.record("network/spectral_radius", spectral_radius(recurrent))
        self._due = self.num_timesteps + self.every

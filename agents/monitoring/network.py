"""Figures about a sparse network that TensorBoard shows beside the learning curves."""

import matplotlib
import numpy as np
import scipy.sparse
import torch
from matplotlib.figure import Figure
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigs

from agents.ppo.sequence_buffer import SequenceRolloutBuffer
from policies.network.specification import BLOCKS
from policies.recurrent.layer import SparseRecurrentLayer

_DENSE_EIGENVALUES = 300
"""Up to this size all eigenvalues of a matrix take less time than the iteration for one."""


def block_matrix(layer: SparseRecurrentLayer, block: str) -> scipy.sparse.csr_array:
    """Return one weight block of a layer as a sparse matrix of its shape."""
    rows, columns = layer.specification.shape(block)
    positions = layer.positions(block).cpu().numpy()
    values = layer.weights[block].detach().cpu().double().numpy()
    return scipy.sparse.csr_array((values, (positions // columns, positions % columns)), shape=(rows, columns))


def spectral_radius(matrix: scipy.sparse.csr_array) -> float:
    """Return the largest absolute eigenvalue of a square sparse matrix; exactly 0 if its graph has no cycle.

    Found by Arnoldi iteration to three digits. Where that does not converge, which happens when many eigenvalues
    share the largest modulus, the best estimate so far is returned, or all eigenvalues are computed.
    """
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


def pattern_picture(layer: SparseRecurrentLayer, title: str) -> Figure:
    """Draw where a network has weights: rows are targets (h above y), columns sources (x, h, y)."""
    specification = layer.specification
    blocks = {block: block_matrix(layer, block) for block in BLOCKS}
    pattern = scipy.sparse.block_array(
        [[blocks["hx"], blocks["hh"], blocks["hy"]], [blocks["yx"], blocks["yh"], blocks["yy"]]]
    )
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

"""Each kind of transformation does what the task says, on hand-made images; no perspective leaves a NaN."""

import numpy as np
import pytest

from envs.random_anomaly.transformations import (
    TRANSFORMATIONS,
    Corner,
    draw_corners,
    is_strictly_convex,
    map_to_corners,
)

SIZE = 50
BRIGHT = np.ones((SIZE, SIZE), dtype=np.float32)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def textured(generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0.2, 0.8, (SIZE, SIZE)).astype(np.float32)


def transformed(kind: str, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    before = image.copy()
    image.flags.writeable = False
    out = np.full_like(image, np.nan)
    TRANSFORMATIONS[kind](image, out, generator)
    np.testing.assert_array_equal(image, before)
    return out


def perspective_by_hand(image: np.ndarray, corners: list[Corner]) -> np.ndarray:
    """Solve for the map from corners to image in float64, and interpolate bilinearly with zeros around the image."""
    last = len(image) - 1
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, [(0, 0), (last, 0), (last, last), (0, last)], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix = np.append(np.linalg.solve(np.array(rows, dtype=float), np.array(values, dtype=float)), 1.0).reshape(3, 3)
    ys, xs = np.mgrid[: len(image), : len(image)]
    u, v, w = np.tensordot(matrix, np.stack([xs, ys, np.ones_like(xs)]), axes=1)
    horizon = np.abs(w) < 1e-9
    w[horizon] = 1.0
    u, v = (
        np.where(horizon, -5.0, u / w).clip(-5, len(image) + 5),
        np.where(horizon, -5.0, v / w).clip(-5, len(image) + 5),
    )
    padded = np.pad(image.astype(float), 10)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    x, y, left, top = u - left, v - top, left + 10, top + 10
    upper = padded[top, left] * (1 - x) + padded[top, left + 1] * x
    lower = padded[top + 1, left] * (1 - x) + padded[top + 1, left + 1] * x
    return upper * (1 - y) + lower * y


def test_none_is_the_image(generator: np.random.Generator) -> None:
    image = textured(generator)
    np.testing.assert_array_equal(transformed("none", image, generator), image)


def test_perspective_agrees_with_the_definition(generator: np.random.Generator) -> None:
    for distortion in (0.5, 0.9) * 100:
        corners = draw_corners(SIZE, distortion, generator)
        if not is_strictly_convex(corners):
            continue
        image, out = textured(generator), np.empty((SIZE, SIZE), np.float32)
        map_to_corners(image, out, corners)
        np.testing.assert_allclose(out, perspective_by_hand(image, corners), atol=0.02)


@pytest.mark.parametrize(("kind", "inset"), [("mild-perspective", 12), ("strong-perspective", 22)])
def test_perspective_keeps_the_middle_and_fills_with_zero(
    kind: str, inset: int, generator: np.random.Generator
) -> None:
    marked = np.zeros((SIZE, SIZE), dtype=np.float32)
    marked[0, 0] = marked[0, -1] = marked[-1, 0] = marked[-1, -1] = 1.0
    for _ in range(200):
        out = transformed(kind, marked.copy(), generator)
        # The corners are at pixels, so that each corner's value is found again, near its own corner of the image.
        assert (out > 0.95).sum() >= 4
        for rows in (slice(inset + 1), slice(-inset - 1, None)):
            for columns in (slice(inset + 1), slice(-inset - 1, None)):
                assert out[rows, columns].max() > 0.95
        solid = transformed(kind, BRIGHT.copy(), generator)
        assert set(np.unique(solid.round(3))) >= {1.0}
        assert solid.max() <= 1 + 1e-6
        assert solid.min() >= 0
    assert solid.min() == 0


@pytest.mark.parametrize(
    ("size", "distortion", "inset"), [(50, 0.5, 12), (50, 0.9, 22), (28, 0.5, 7), (28, 0.9, 12), (100, 0.9, 45)]
)
def test_corners_are_uniform(size: int, distortion: float, inset: int, generator: np.random.Generator) -> None:
    corners = np.array([draw_corners(size, distortion, generator) for _ in range(4000)])
    last = size - 1
    insets = np.abs(corners - [(0, 0), (last, 0), (last, last), (0, last)]).reshape(-1, 8)
    for column in insets.T:
        counts = np.bincount(column, minlength=inset + 1)
        assert len(counts) == inset + 1
        expected = len(column) / (inset + 1)
        statistic = ((counts - expected) ** 2 / expected).sum()
        assert statistic < inset + 5 * np.sqrt(2 * inset)  # five standard deviations of chi-square
    assert np.abs(np.corrcoef(insets.T) - np.eye(8)).max() < 0.08


def test_strict_convexity() -> None:
    assert is_strictly_convex([(0, 0), (49, 0), (49, 49), (0, 49)])
    assert is_strictly_convex([(22, 0), (49, 22), (27, 49), (0, 27)])
    assert not is_strictly_convex([(22, 22), (40, 0), (30, 49), (0, 40)])  # top left beyond the diagonal
    assert not is_strictly_convex([(0, 49), (49, 49), (49, 0), (0, 0)])  # the other way round
    assert not is_strictly_convex([(10, 10)] * 4)
    assert not is_strictly_convex([(10, 10), (40, 10), (25, 25), (10, 40)])  # bottom right on the diagonal


def test_degenerate_perspectives_are_redrawn(generator: np.random.Generator) -> None:
    drawn = [is_strictly_convex(draw_corners(SIZE, 0.9, generator)) for _ in range(20_000)]
    assert 0.02 < 1 - np.mean(drawn) < 0.04
    image, expected = textured(generator), np.empty((SIZE, SIZE), np.float32)
    redrawn = 0
    for seed in range(300):
        same = np.random.default_rng(seed)
        corners = draw_corners(SIZE, 0.9, same)
        while not is_strictly_convex(corners):
            corners = draw_corners(SIZE, 0.9, same)
            redrawn += 1
        map_to_corners(image, expected, corners)
        out = transformed("strong-perspective", image, np.random.default_rng(seed))
        np.testing.assert_array_equal(out, expected)
    assert redrawn > 0


HORIZON_THROUGH_A_PIXEL: list[list[Corner]] = [
    [(11, 6), (33, 15), (29, 47), (17, 32)],
    [(16, 19), (46, 16), (30, 48), (12, 27)],
    [(20, 18), (29, 9), (40, 38), (14, 38)],
    [(10, 16), (35, 16), (40, 44), (20, 30)],
    [(20, 3), (38, 21), (36, 31), (20, 48)],
    [(18, 5), (34, 21), (29, 40), (20, 49)],
    [(20, 15), (28, 2), (32, 45), (17, 35)],
]
"""Strictly convex, and yet OpenCV 5 alone leaves NaN in the image."""


@pytest.mark.parametrize("corners", HORIZON_THROUGH_A_PIXEL)
def test_horizon_through_a_pixel(corners: list[Corner], generator: np.random.Generator) -> None:
    assert is_strictly_convex(corners)
    image, out = textured(generator), np.empty((SIZE, SIZE), np.float32)
    map_to_corners(image, out, corners)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, perspective_by_hand(image, corners), atol=0.02)


def test_extreme_corners(generator: np.random.Generator) -> None:
    """All strictly convex combinations of no, half and full displacement: the 3^8 corners of what can be drawn."""
    image, out, count = textured(generator), np.empty((SIZE, SIZE), np.float32), 0
    for combination in np.ndindex(*(3,) * 8):
        d = np.array([0, 11, 22])[list(combination)].reshape(4, 2)
        corners = [(int(x), int(y)) for x, y in np.abs(np.array([(0, 0), (49, 0), (49, 49), (0, 49)]) - d)]
        if is_strictly_convex(corners):
            map_to_corners(image, out, corners)
            count += 1
            assert np.isfinite(out).all()
            assert out.min() >= 0
            assert out.max() <= 0.8 + 1e-6
    assert count > 5000


def test_no_nan_in_100_000_perspectives(generator: np.random.Generator) -> None:
    image, out = textured(generator), np.empty((SIZE, SIZE), np.float32)
    for _ in range(100_000):
        TRANSFORMATIONS["strong-perspective"](image, out, generator)
        assert not np.isnan(out.sum())


def test_erase(generator: np.random.Generator) -> None:
    areas, aspects, tops, lefts = [], [], [], []
    for _ in range(3000):
        out = transformed("erase", BRIGHT.copy(), generator)
        rows, columns = np.flatnonzero((out == 0).any(axis=1)), np.flatnonzero((out == 0).any(axis=0))
        height, width = len(rows), len(columns)
        top, left = int(rows[0]), int(columns[0])
        expected = BRIGHT.copy()
        expected[top : top + height, left : left + width] = 0
        np.testing.assert_array_equal(out, expected)
        areas.append(height * width / SIZE**2)
        aspects.append(height / width)
        tops.append(top / (SIZE - height))
        lefts.append(left / (SIZE - width))
    # Sides are rounded to pixels, hence the margins.
    assert 0.09 < min(areas) < 0.105
    assert 0.195 < max(areas) < 0.21
    assert np.mean(areas) == pytest.approx(0.15, abs=0.003)
    assert 0.27 < min(aspects) < 0.32
    assert 3.1 < max(aspects) < 3.6
    middle = (np.log(0.3) + np.log(3.3)) / 2
    assert np.mean(np.log(aspects)) == pytest.approx(middle, abs=0.04)
    assert np.std(np.log(aspects)) == pytest.approx(np.log(11) / np.sqrt(12), abs=0.03)
    for places in (tops, lefts):
        assert (min(places), max(places)) == (0, 1)
        assert np.mean(places) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("size", [8, 9, 10, 28, 50, 64])
def test_erased_rectangles_always_fit(size: int) -> None:
    """Extreme areas with extreme aspects: no side is shorter than a pixel, none as long as the image."""
    for area in (0.1, 0.2):
        for aspect in (0.3, 3.3):
            sides = np.sqrt(area * size**2 * aspect), np.sqrt(area * size**2 / aspect)
            assert all(1 <= round(side) < size for side in sides)


def test_noise(generator: np.random.Generator) -> None:
    image = textured(generator)
    noise = np.stack([transformed("noise", image.copy(), generator) - image for _ in range(200)])
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(0.01, abs=1e-4)
    assert np.abs(noise.mean(axis=0)).max() < 0.01 / np.sqrt(200) * 5
    standardized = np.sort(noise.ravel()) / 0.01
    quantiles = standardized[(np.array([0.0228, 0.1587, 0.8413, 0.9772]) * len(standardized)).astype(int)]
    np.testing.assert_allclose(quantiles, [-2, -1, 1, 2], atol=0.03)


def test_erase_perspective_erases_first() -> None:
    for seed in range(50):
        both = transformed("erase-perspective", BRIGHT.copy(), np.random.default_rng(seed))
        generator = np.random.default_rng(seed)
        erased = transformed("erase", BRIGHT.copy(), generator)
        np.testing.assert_array_equal(both, transformed("mild-perspective", erased, generator))


def test_blur_is_a_gaussian_of_width_15(generator: np.random.Generator) -> None:
    dot = np.zeros((SIZE, SIZE), dtype=np.float32)
    dot[25, 25] = 1.0
    offsets = np.arange(-7, 8)
    sigmas = []
    for _ in range(2000):
        out = transformed("blur", dot.copy(), generator)
        assert np.count_nonzero(out[:, :18]) == np.count_nonzero(out[:, 33:]) == 0
        row = out[25] / out[25].sum()
        window = row[18:33]
        if window[6] < 1e-4:  # too narrow to measure
            sigmas.append(0.1)
            continue
        # Of a Gaussian, neighbours' ratio at the middle tells sigma; then the whole of it must agree.
        sigma = np.sqrt(0.5 / np.log(window[7] / window[6]))
        kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
        np.testing.assert_allclose(out[18:33, 18:33], np.outer(kernel, kernel) / kernel.sum() ** 2, atol=2e-5)
        sigmas.append(sigma)
    assert max(sigmas) <= 2.0 + 1e-3
    assert np.mean(np.array(sigmas) > 1.05) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(sigmas) > 1.525) == pytest.approx(0.25, abs=0.05)


def test_blur_reflects_at_the_border(generator: np.random.Generator) -> None:
    image = textured(generator)
    padded = np.pad(image, 7, mode="reflect")
    seed = 3
    out = transformed("blur", image, np.random.default_rng(seed))
    sigma = 0.1 + 1.9 * np.random.default_rng(seed).random()
    kernel = np.exp(-0.5 * (np.arange(-7, 8) / sigma) ** 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (15, 15))
    expected = np.einsum("ijkl,k,l->ij", windows, kernel, kernel) / kernel.sum() ** 2
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_sharpen(generator: np.random.Generator) -> None:
    image = textured(generator)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
    expected = image.copy()
    expected[1:-1, 1:-1] = np.clip(4 * image[1:-1, 1:-1] - 3 * np.einsum("ijkl,kl->ij", windows, kernel), 0, 1)
    assert ((expected == 0).any(), (expected == 1).any()) == (True, True)  # or nothing would be clipped
    np.testing.assert_allclose(transformed("sharpen", image, generator), expected, atol=1e-5)


def test_parameters_are_drawn_anew(generator: np.random.Generator) -> None:
    image = textured(generator)
    for kind in set(TRANSFORMATIONS) - {"none", "sharpen"}:
        assert not np.array_equal(transformed(kind, image, generator), transformed(kind, image, generator)), kind

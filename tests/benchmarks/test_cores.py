import pytest

from benchmarks.cores import Row


@pytest.mark.parametrize(
    ("phase", "one", "two", "share", "on_sixteen"),
    [
        ("rollout", 8.0, 4.0, 0.0, 0.5),  # shared out among sixteen environments
        ("update", 8.0, 4.0, 0.0, 2.0),  # among the jobs of two networks
        ("rollout", 8.0, 6.0, 0.5, 4.25),
        ("update", 8.0, 9.0, 1.0, 8.0),  # no use at all
    ],
)
def test_forecast_follows_from_the_serial_share(
    phase: str, one: float, two: float, share: float, on_sixteen: float
) -> None:
    row = Row(25_000, phase, one, two)
    assert row.serial_share == pytest.approx(share)
    assert (row.forecast(1), row.forecast(16)) == pytest.approx((one, on_sixteen))

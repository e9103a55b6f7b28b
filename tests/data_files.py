"""Where the files lie that tests read; tests/data/README.md says what they are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).resolve().parent / "data"
DIGITS = DATA / "digits.npz"
HAMMER_DEMONSTRATIONS = DATA / "hammer"
PUBLISHED_CONFIGURATIONS = ROOT / "policies" / "network" / "published_configurations.csv"

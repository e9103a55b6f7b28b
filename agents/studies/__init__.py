"""Studies: many trainings planned up front, shared by workers through one database, and reported together."""

from pathlib import Path

EXAMPLE_ADDRESS = "postgresql+psycopg://user@host/database"
"""of a database that machines share"""
STUDIES_DIR = Path("studies")
"""folder of all studies, if no other is named"""

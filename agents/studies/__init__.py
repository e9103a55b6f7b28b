"""Studies: many trainings planned up front, shared by workers through one database, and reported together."""

EXAMPLE_ADDRESS = "postgresql+psycopg://user@host/database"
"""of a database that machines share"""

"""Studies: many trainings planned up front, shared by workers through one database, and reported together."""

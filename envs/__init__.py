"""Worlds: the environments trained on, how they are found, vectorized and preset; importing it registers our own."""

# Own environments are registered here with gymnasium.register, entry points given as text so that nothing heavy loads.
# --- RandomAnomaly-v0 ---

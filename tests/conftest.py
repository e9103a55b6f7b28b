"""What holds for all tests: one thread of torch for each of the processes side by side, no deadline for an example."""

import os

from hypothesis import settings

# Two test processes of two OpenMP threads each on two cores wait for each other in busy loops: three times the
# processor time for the tests of the layers. The processes that tests start inherit it; torch is not imported yet.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example of a property test takes says more of the machine than of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

"""The errors that a user is told in one line, as `policies.refusal` defines them for all three packages.

The one thing that the environments know of the policies: one error, so that one place renders it. It lies there since
a specification needs no Gymnasium, which importing `envs` brings.
"""

from policies.refusal import OneLine, Refusal

__all__ = ["OneLine", "Refusal"]

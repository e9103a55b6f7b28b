"""A policy as one ONNX file that acts without torch: its graph, its reader, and the check against the policy."""

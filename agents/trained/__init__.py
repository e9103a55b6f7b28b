"""A trained policy, from a run folder or an ONNX file: loaded, evaluated with intervals, watched and recorded."""

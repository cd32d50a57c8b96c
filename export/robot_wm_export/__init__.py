"""Trained agents to bundles: torch to ONNX, parity, signing."""

"""Injection: recipe (what to paint) -> renderer (pixels) -> stream (training batches)."""

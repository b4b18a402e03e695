"""Manifests: which galaxies get which lenses and sources, a Parquet row each (`inject.py task=manifest`)."""

"""Shortcut gates on a trained finder: interventions on pairs of stamps, and what its scores do."""

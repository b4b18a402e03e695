"""Recall of real lenses, and of their labelled stand-ins."""

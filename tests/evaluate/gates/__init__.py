"""Tests of the shortcut gates."""

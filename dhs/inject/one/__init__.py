"""`inject.py task=one`: one stamp, its recipe and its parts. The tool to ask why a stamp looks as it does."""

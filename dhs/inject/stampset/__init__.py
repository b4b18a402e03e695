"""Sets of finished stamps on disk: their format, the jobs that make and rewrite them, and training from them."""

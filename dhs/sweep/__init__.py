"""Many runs of one program: planned, launched, watched, counted; and a search that chooses them."""

"""Can real lenses be told from injections? Matching, features, linear probe."""

"""Configuration: YAML in `conf/` holds the values, the pydantic schemas here hold the rules. Imports no torch."""

"""`inject.py task=validate`: is a set of stamps fit to train on? Ours, and the user's Gen5 Parquet."""

"""`inject.py task=bank_check`: is a bank of source templates galaxies, or noise?"""

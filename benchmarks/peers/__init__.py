"""The contestants of the compiled benchmark: one file for each library or language."""

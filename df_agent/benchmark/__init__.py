"""Policies beside each other, on the same starts: their rows, the statistics, the report."""

"""Episodes, tokens, training windows and data collection."""

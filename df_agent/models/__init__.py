"""Networks. One contract: forward(x (B, T, D), level (B, T), cond) -> like x."""

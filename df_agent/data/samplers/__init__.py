"""What training batches are drawn by."""

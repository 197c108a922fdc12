"""What an administrator sees and does: plain values and operations, and ways to reach them."""

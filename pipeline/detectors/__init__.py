"""Features to logits: everything that learns."""

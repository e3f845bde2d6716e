"""Few-shot accuracy on tasks whose labels are chosen from options."""

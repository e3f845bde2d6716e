"""Few-shot accuracy, and how good the exact readers of the same prompts are."""

"""Which attention heads look for what came after the present token before, and copy it."""

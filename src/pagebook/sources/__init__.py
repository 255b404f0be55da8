"""Where bytes come from: each module turns something outside into a Memory, opened read-only."""

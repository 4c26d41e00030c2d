"""Python functions rewritten so that control flow, calls and reads go through hooks."""

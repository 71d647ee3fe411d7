"""Libraries of recordings: replayed by several processes or machines, gathered in tables, and evaluated as one."""

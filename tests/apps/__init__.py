"""Projects as users write them, for tests that run the `headrace` command on them."""

"""From evidence to findings: what is wrong, why, what to do."""

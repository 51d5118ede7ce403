"""The command line: arguments, reports as text, exit codes."""

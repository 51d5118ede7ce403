"""The privileged process in one namespace: frames on stdin and stdout, one asyncio loop."""

"""What both columns share: readings, protocol, filters, words. Standard library and msgspec only."""

"""Data sets that scenes and label maps come from. A new one is a file beside these and a line below."""

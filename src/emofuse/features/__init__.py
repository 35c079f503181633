"""Arrays in, features out; nothing here sees a label."""

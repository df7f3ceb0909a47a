"""What is in an image file: its content, where it stands, its stored bitmaps; the store of all files."""

"""Migration: settings, and both sides of one, bytes in and bytes out; the bitmaps that go with it."""

"""Sets of granules: the bit vectors that dirty bitmaps are made of."""

"""The block graph: nodes, drives, dirty bitmaps, edges with their permissions."""

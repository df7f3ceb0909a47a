"""Migration, as far as its settings go."""

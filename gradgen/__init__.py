"""gradgen: plain NumPy function in, standalone NumPy or C gradient source out."""

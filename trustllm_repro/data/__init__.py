"""Where things come from: benchmark, recorded answers, published numbers, wheels."""

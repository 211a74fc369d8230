"""Reading answers: one grammar for choices, labels and ratings, whatever the words around them."""

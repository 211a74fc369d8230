"""Pages of the online study; see book_online."""

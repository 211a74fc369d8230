"""Training and measurement of the judges the package ships."""

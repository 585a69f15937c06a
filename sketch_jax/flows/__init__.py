"""What begins with finished runs, or makes several: cross-validation, ensembles, views, soups."""

"""What is made of the predictions, and of the parameters, of several models."""

"""`make soak`: a long run that must leave no trace."""

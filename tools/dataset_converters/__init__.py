"""Info files and object databases from a data set's own tables."""

"""The status page: an ordinary web application on top of the operations of an administrator."""

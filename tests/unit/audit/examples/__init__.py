"""An example of every deed that leaves an audit entry, by what it is about."""

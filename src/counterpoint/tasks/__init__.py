"""One file per kind of data; each holds an instance named TASK."""

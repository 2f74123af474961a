"""Where the runs of a study are executed: in this process, in processes of this machine, on a Ray cluster."""

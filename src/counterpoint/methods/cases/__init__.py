"""One file per method: CASE, the small real reproduction that `counterpoint reproduce` runs."""

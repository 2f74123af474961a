"""Images with or without labels, captions or partners: folders, arrays, tables."""

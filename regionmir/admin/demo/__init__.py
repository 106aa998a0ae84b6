"""`regionmir demo`: real radiographs go in by C-STORE, and a region of one finds its like by C-FIND."""
